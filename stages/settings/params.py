"""params.yaml, read once and checked whole: its keys as types. What they mean for trials is said in `study.design`.

No field has a default but None and empty: what a key that is not given means is decided where it is used, in code that
DVC knows as a dependency.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from reprlib import Repr
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)

PATH = Path("params.yaml")
SWEEP = "sweep"  # the study that is a section of its own
OWN = "own"  # a trained network's own normalization, where a study names normalizations
SWEEP_TABLE = "plots/trials/sweep.csv"  # what follow-ups read

# Bounds that no real use meets: beyond them, a slip of the keyboard would run for ever, or take all memory.
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Few = Annotated[int, Field(ge=1, le=10_000)]  # of epochs, seeds, trials at once
Threads = Annotated[int, Field(ge=1, le=1_024)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Number = Annotated[float, Field(ge=-1e6, le=1e6)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
NotNegative = Annotated[float, Field(ge=0, le=1e6)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Decay = Annotated[float, Field(gt=0, le=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
ALL_IMAGES = 60_000  # of MNIST's training part
BatchSize = Annotated[int, Field(ge=1, le=ALL_IMAGES)]
Pair = Annotated[int, Field(ge=2, le=ALL_IMAGES)]  # of images: batch statistics need two
TrainImages = Annotated[int, Field(ge=1, le=ALL_IMAGES)]
TestImages = Annotated[int, Field(ge=1, le=10_000)]
Optimizer = Literal["adadelta", "sgd", "adam"]
Treatment = Literal["as_is", "recalibrated", "folded", "fine_tuned"]  # of a trained network, in this order
Init = Literal["default", "he_normal", "zero_bias"]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]  # of an entry: also that of stages, files and columns
Parameters = dict[str, float | int | str]  # of a trial, by name


class InputError(SystemExit):
    """What is wrong with the user's input, in one line: uncaught, it ends the process with this line and status 1."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


# Data and normalizations


class Data(_Section):
    train_images: TrainImages
    test_images: TestImages


def _channels(value: object) -> tuple[float, ...]:
    given: list[object] = list(value) if isinstance(value, list | tuple) else [value]
    numbers = [part for part in given if isinstance(part, int | float) and not isinstance(part, bool)]
    if len(given) not in (1, 3) or len(numbers) != len(given) or not all(abs(number) <= 1e6 for number in numbers):
        raise ValueError("must be a finite number, or three, for red, green and blue, each at most 1e6")
    return tuple(map(float, numbers))


def _positive_channels(value: object) -> tuple[float, ...]:
    numbers = _channels(value)
    if min(numbers) <= 0:
        raise ValueError("must be greater than 0")
    return numbers


class Norm(_Section):
    """A normalization: one number for all channels, or one for each."""

    mean: Annotated[tuple[float, ...], BeforeValidator(_channels)]
    std: Annotated[tuple[float, ...], BeforeValidator(_positive_channels)]

    def parameters(self) -> Parameters:
        """As parameters of a trial: mean and std, or mean_r, mean_g, mean_b and std_r, std_g, std_b."""
        named: Parameters = {}
        for kind, numbers in self:
            names = [kind] if len(set(numbers)) == 1 else [f"{kind}_{channel}" for channel in "rgb"]
            named |= dict(zip(names, numbers, strict=False))
        return named


def _grey(norm: Norm) -> Norm:
    if len(norm.parameters()) > 2:
        raise ValueError("must be one number for mean and one for std: digits are grey")
    return norm


Grey = Annotated[Norm, AfterValidator(_grey)]


# Training


def _for_each_optimizer(value: object) -> object:
    if isinstance(value, dict):
        if missing := [name for name in get_args(Optimizer) if name not in value]:
            raise ValueError(f"must be a number, or one for each of {', '.join(get_args(Optimizer))}: no {missing[0]}")
        return value
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1e6:
        raise ValueError("must be greater than 0 and at most 1e6, or a number for each optimizer")
    return dict.fromkeys(get_args(Optimizer), value)


class Train(_Section):
    optimizer: Optimizer
    lr: Annotated[dict[Optimizer, Positive], BeforeValidator(_for_each_optimizer)]
    momentum: Momentum
    epochs: Few
    batch_size: BatchSize
    gamma: Decay
    init: Init
    seed: Seed
    shuffle: bool
    threads: Threads


class Overrides(_Section):
    """What a trial of LeNet has otherwise than `train` and `data` say."""

    train_images: TrainImages | None = None
    held_out: Annotated[int, Field(ge=1, lt=ALL_IMAGES)] | None = None
    optimizer: Optimizer | None = None
    lr: Positive | None = None
    momentum: Momentum | None = None
    epochs: Few | None = None
    batch_size: BatchSize | None = None
    gamma: Decay | None = None
    init: Init | None = None
    seed: Seed | None = None
    shuffle: bool | None = None
    weight_factor: Positive | None = None
    bias_factor: Positive | None = None
    start: str | None = None


class Sgd(_Section):
    epochs: Few
    lr: Positive
    momentum: Momentum
    weight_decay: NotNegative
    schedule: Literal["constant", "linear"]


class Scratch(_Section):
    train_images: Pair
    test_images: TestImages


class Resnet(_Section):
    arch: str
    train_images: Pair
    test_images: Annotated[int, Field(ge=4, le=10_000)]
    batch_size: Pair
    seed: Seed
    threads: Threads
    norm: Grey
    train: Sgd
    fine_tune: Sgd
    scratch: Scratch


class Imagenet(_Section):
    arch: str
    weights: str | None
    data: str
    train_images: Count
    test_images: Annotated[int, Field(ge=4, le=1_000_000)]
    batch_size: Pair
    seed: Seed
    threads: Threads
    fine_tune: Sgd


# Studies


class Interval(_Section):
    """What a search varies; a number stays fixed."""

    low: Number
    high: Number
    log: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _fixed(cls, value: object) -> object:
        return {"low": value, "high": value} if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _ordered(self) -> "Interval":
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        if self.log and self.low <= 0:
            raise ValueError(f"low ({self.low:g}) must be above 0 where log is true")
        return self


def _above_0(interval: Interval) -> Interval:
    if interval.low <= 0:
        raise ValueError(f"low ({interval.low:g}) must be above 0")
    return interval


Above0 = Annotated[Interval, AfterValidator(_above_0)]
Axis = Interval | list[str]


class Space(_Section):
    """What a search proposes: intervals of numbers and lists of choices; mean_r and so on are for colour images."""

    mean: Interval | None = None
    std: Above0 | None = None
    mean_r: Interval | None = None
    mean_g: Interval | None = None
    mean_b: Interval | None = None
    std_r: Above0 | None = None
    std_g: Above0 | None = None
    std_b: Above0 | None = None
    weight_factor: Above0 | None = None
    bias_factor: Above0 | None = None
    lr: Above0 | None = None
    optimizer: Annotated[list[Optimizer], Field(min_length=1)] | None = None
    init: Annotated[list[Init], Field(min_length=1)] | None = None

    def axes(self) -> dict[str, Axis]:
        """All that is named."""
        return {name: axis for name, axis in self if axis is not None}

    def free(self) -> list[str]:
        """The names of those that have more than one value."""
        return [name for name, axis in self.axes().items() if isinstance(axis, list) or axis.low < axis.high]

    @model_validator(mode="after")
    def _complete(self) -> "Space":
        for kind in ("mean", "std"):
            of_channels = [f"{kind}_{channel}" for channel in "rgb"]
            named = [name for name in (kind, *of_channels) if name in self.axes()]
            if named not in ([kind], of_channels):
                raise ValueError(f"must have {kind}, or {', '.join(of_channels)}; has {', '.join(named) or 'neither'}")
        return self


class Search(_Section):
    n_trials: Count
    sampler: Literal["tpe", "random", "qmc", "grid", "gp"]
    seed: Seed
    batch: Few
    grid: Annotated[int, Field(ge=2, le=1_000)]
    space: Space

    @model_validator(mode="after")
    def _within_grid(self) -> "Search":
        axes, points = self.space.axes(), 1
        for name in self.space.free():
            axis = axes[name]
            points *= len(axis) if isinstance(axis, list) else self.grid
        if self.sampler == "grid" and self.n_trials > points:
            raise ValueError(f"n_trials ({self.n_trials}) must be at most {points}, the points of the grid")
        return self


class Sweep(Search):
    """The search over LeNet's normalization."""

    train: Overrides = Overrides()


def _one_normalization(point: "Point | Grid") -> "Point | Grid":
    named, numbers = point.normalization is not None, [point.mean, point.std]
    if named == any(number is not None for number in numbers) or (not named and None in numbers):
        raise ValueError("must have a normalization by name, or mean and std")
    return point


class Point(Overrides):
    normalization: str | None = None
    mean: Number | None = None
    std: Positive | None = None
    seeds: Few | None = None
    border: Number | None = None
    recalibrated: Pair | None = None

    _checked = model_validator(mode="after")(_one_normalization)


class Grid(_Section):
    """Points with all combinations of these values."""

    normalization: list[str] | None = None
    mean: list[Number] | None = None
    std: list[Positive] | None = None
    init: list[Init] | None = None
    lr: list[Positive] | None = None

    _checked = model_validator(mode="after")(_one_normalization)


class Selection(_Section):
    """Trials of the sweep."""

    kind: Literal["died", "nearest_died", "learned", "best"]
    threshold: Annotated[float, Field(ge=0, lt=1)]
    first: Few


class Trial(_Section):
    """The class stages/{code}/trial.py:{name}, the section that it is set by, and the file that it reads."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z]\w*$")]
    code: Annotated[str, Field(pattern=r"^[a-z]\w*$")]
    settings: Literal["train", "resnet", "imagenet"]
    reads: str


class Study(_Section):
    """Trials at given points over seeds, or of a search, or those of the sweep again."""

    trial: Trial
    normalizations: list[str] = []
    points: dict[Name, Point] = {}
    grid: Grid | None = None
    seeds: Few | None = None
    search: Search | None = None
    sweep_trials: Selection | None = None
    treatments: list[Treatment] | None = None
    train: Overrides = Overrides()

    @property
    def of_lenet(self) -> bool:
        return self.trial.settings == "train"

    @model_validator(mode="after")
    def _one_design(self) -> "Study":
        given = [bool(self.normalizations or self.points or self.grid), bool(self.search), bool(self.sweep_trials)]
        if sum(given) > 1:
            raise ValueError("must have points (normalizations, points, grid), or search, or sweep_trials: one of them")
        if self.treatments is not None and (
            not self.treatments or tuple(self.treatments) != get_args(Treatment)[: len(self.treatments)]
        ):
            raise ValueError(
                f"treatments = {self.treatments}: must be the first ones of {', '.join(get_args(Treatment))}"
            )
        if not any(given) and self.trial.name != "ImagesTrial":
            raise ValueError("must have normalizations, points or a grid, or search, or sweep_trials")
        if self.of_lenet and not self.search and self.seeds is None:
            raise ValueError("must have seeds: training runs of each point, 1 or more")
        if bool(self.sweep_trials) != (self.trial.reads == SWEEP_TABLE):
            raise ValueError(f"must have sweep_trials and a trial that reads {SWEEP_TABLE}, or neither")
        if not self.of_lenet and (self.train != Overrides() or self.sweep_trials):
            raise ValueError("train and sweep_trials are for LeNet alone")
        for name, point in self.points.items():
            if name in self.normalizations:
                raise ValueError(f"points.{name} must have another name: it is one of normalizations")
            if point.seeds and point.seeds > (self.seeds or 1):
                raise ValueError(f"points.{name}.seeds = {point.seeds}: must be at most seeds, {self.seeds or 1}")
        if self.search and (axes := self.search.space).optimizer and not axes.lr and self.train.lr is None:
            raise ValueError("search.space.optimizer needs lr too, in space or train: rates differ by optimizer")
        return self


# Evidence


class StudyRule(_Section):
    """How the results of a study are judged."""

    reference: str | None = None
    margin: Fraction | None = None
    confidence: Annotated[float, Field(gt=0.5, lt=1)] | None = None
    threshold: Annotated[float, Field(ge=0, lt=1)] | None = None
    tolerance: Annotated[float, Field(ge=0, le=1)] | None = None


class Rule(_Section):
    reference: str
    margin: Fraction
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    threshold: Annotated[float, Field(ge=0, lt=1)]
    tolerance: Annotated[float, Field(ge=0, le=1)]
    studies: dict[Name, StudyRule] = {}

    def of(self, study: str) -> "Rule":
        """With what is said of that study alone."""
        own = self.studies.get(study, StudyRule()).model_dump(exclude_none=True)
        return self.model_copy(update=own | {"studies": {}})


class Fold(_Section):
    normalizations: Annotated[list[str], Field(min_length=1)]


def _colormap(name: str) -> str:
    from matplotlib import colormaps  # the workers of a study need none

    if name not in colormaps:
        raise ValueError("must be a colormap of matplotlib, such as viridis, cividis or Blues")
    return name


class Look(_Section):
    width: Annotated[float, Field(ge=2, le=30)]
    dpi: Annotated[int, Field(ge=50, le=600)]
    colormap: Annotated[str, AfterValidator(_colormap)]


class Figure(_Section):
    kind: Literal["rates", "cells", "law", "seeds", "epochs", "networks", "map", "axes"]
    studies: Annotated[list[Name], Field(min_length=1, max_length=9)]
    title: str


class Report(_Section):
    answer: list[Name]
    columns: list[Name]
    headline: list[Annotated[str, Field(pattern=r"^[a-z0-9_]+\.[a-z0-9_]+$")]]


def _workers(value: object) -> object:
    if value == "auto" or (type(value) is int and 1 <= value <= 1_024):
        return value
    raise ValueError("must be auto or a whole number, 1 to 1024")


class Run(_Section):
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d{1,3})?)$")]
    workers: Annotated[int | str, PlainValidator(_workers)]
    scheduler: str | None
    mnist: str | None
    imagenet: str | None


# All of it


class Params(_Section):
    data: Data
    normalizations: dict[Name, Norm]
    norm: Grey
    train: Train
    sweep: Sweep
    trials: dict[Name, Trial]
    studies: dict[Name, Study]
    figures: dict[Name, Figure]
    rule: Rule
    fold: Fold
    look: Look
    report: Report
    resnet: Resnet
    imagenet: Imagenet
    run: Run

    @model_validator(mode="after")
    def _names(self) -> "Params":
        stages = {path.stem for path in Path(__file__).parents[1].glob("*.py")}
        for section in ("studies", "figures"):
            if taken := sorted(stages & set(getattr(self, section))):
                raise ValueError(f"{section}.{taken[0]}: must have another name: it is that of a stage")
        if "standard" not in self.normalizations:
            raise ValueError("normalizations.standard is missing: maps show it, and distances are from its mean")
        if OWN in self.normalizations:
            raise ValueError(f"normalizations.{OWN}: must have another name: it is a trained network's own")
        if unknown := sorted(set(self.rule.studies) - {SWEEP, *self.studies}):
            raise ValueError(f"rule.studies.{unknown[0]}: no such study; accepted: {', '.join([SWEEP, *self.studies])}")
        return self

    @model_validator(mode="after")
    def _known_normalizations(self) -> "Params":
        for key, name, grey in self._named():
            if name not in self.normalizations:
                known = ", ".join(sorted(self.normalizations))
                raise ValueError(f"{key}: {name!r} is none of normalizations: {known}")
            if grey and len(self.normalizations[name].parameters()) > 2:
                raise ValueError(f"{key}: {name!r} has a number for each channel, but digits are grey")
        return self

    def _named(self) -> Iterator[tuple[str, str, bool]]:
        """Where a normalization is named, its name, and whether it must be that of digits."""
        for name, study in self.studies.items():
            key, grey = f"studies.{name}", study.trial.settings != "imagenet"
            own = {OWN} if study.seeds is None else set()
            yield from ((f"{key}.normalizations", norm, grey) for norm in study.normalizations if norm not in own)
            yield from (
                (f"{key}.grid.normalization", norm, grey) for norm in (study.grid and study.grid.normalization) or []
            )
            for point, of in study.points.items():
                if of.normalization:
                    yield f"{key}.points.{point}.normalization", of.normalization, grey
                if of.start:
                    yield f"{key}.points.{point}.start", of.start, True
            if study.train.start:
                yield f"{key}.train.start", study.train.start, True
        if self.sweep.train.start:
            yield "sweep.train.start", self.sweep.train.start, True
        yield from (("fold.normalizations", name, True) for name in self.fold.normalizations)


def load(path: Path = PATH) -> Params:
    """The settings of the study.

    raises: InputError naming the key, its value and what is accepted, one line for each key that is wrong
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except Exception as error:  # whatever a damaged file can raise
        raise InputError(f"{path}: cannot be read: {short(' '.join(str(error).split()) or 'too deep')}") from None
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise InputError("\n".join(dict.fromkeys(_line(path, problem) for problem in error.errors()))) from None
    except RecursionError:
        raise InputError(f"{path}: cannot be read: too deep, or a mapping that contains itself") from None


class _Loader(yaml.SafeLoader):
    """Reads YAML 1.2, as DVC writes it: 1e-05 is a number, `on` and `no` are text; no key may occur twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]} occurs twice", node.start_mark)
        return super().construct_mapping(node, deep)

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        return int(self.construct_scalar(node))  # 010 is 10


FLOAT = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_integer)
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", FLOAT, list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def _line(path: Path, problem: Mapping[str, Any]) -> str:
    keys, value = [str(key) for key in problem["loc"]], problem["input"]
    key = short(".".join(keys)) or "the file"
    if problem["type"] == "missing":
        return f"{path}: {key} is missing"
    if problem["type"] == "extra_forbidden":
        return f"{path}: {key} is no known key; accepted here: {', '.join(_fields(keys[:-1]))}"
    if problem["type"] == "model_type":
        return f"{path}: {key} = {_value(value)}: must hold keys of its own"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if isinstance(value, dict):  # keys that contradict each other, which the message names
        return f"{path}: {key}: {message}" if keys else f"{path}: {message}"
    return f"{path}: {key} = {_value(value)}: {message}"


def _value(value: object) -> str:
    """A value as it is written, shortened."""
    shown = Repr()
    shown.maxlevel, shown.maxstring, shown.maxother = 3, 100, 100
    return short(shown.repr(value))


def short(text: str) -> str:
    """One line of printable characters, shortened."""
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= 300 else text[:300] + "…"


def _fields(keys: list[str]) -> list[str]:
    """The keys that are known in the section at a path of keys."""
    kind: Any = Params
    for key in keys:
        field = getattr(_section_of(kind), "model_fields", {}).get(key)
        kind = get_args(kind)[1] if get_origin(kind) is dict else field and field.annotation
    return list(getattr(_section_of(kind), "model_fields", {}))


def _section_of(kind: Any) -> type[BaseModel] | None:
    """The section that a type is made of."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next(filter(None, map(_section_of, get_args(kind))), None)
