"""params.yaml, read once and checked whole: the only place that knows its keys."""

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from reprlib import Repr
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

PATH = Path("params.yaml")
# Entries that other stages read the results of.
RESTED_ON = (
    *(("comparisons", name) for name in ("one_epoch", "boundary", "boundary_wide", "boundary_full")),
    *(("comparisons", name) for name in ("epochs", "epochs_sgd", "init", "plateau", "plateau_sgd")),
    ("follow_ups", "revival"),
    ("searches", "initialization"),
)
DRAWN = ("epochs", "epochs_sgd", "plateau", "plateau_sgd")  # comparisons that pictures are made of

# Bounds that no real use meets: beyond them, a slip of the keyboard would run for ever, or take all memory.
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Few = Annotated[int, Field(ge=1, le=10_000)]  # of epochs, seeds, trials at once
Threads = Annotated[int, Field(ge=1, le=1_024)]
BatchSize = Annotated[int, Field(ge=1, le=60_000)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Number = Annotated[float, Field(ge=-1e6, le=1e6)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Decay = Annotated[float, Field(gt=0, le=1)]
ALL_IMAGES = 60_000  # of MNIST's training part
TrainImages = Annotated[int, Field(ge=1, le=ALL_IMAGES)]
HeldOut = Annotated[int, Field(ge=1, lt=ALL_IMAGES)]
TestImages = Annotated[int, Field(ge=1, le=10_000)]
Optimizer = Literal["adadelta", "sgd", "adam"]
Init = Literal["default", "he_normal", "zero_bias"]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]  # of an entry, and so of its stage and of its files
Parameters = dict[str, float | int | str]  # what a trial is told, by name


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
        """As a trial is told: mean and std, or mean_r, mean_g, mean_b and std_r, std_g, std_b."""
        named: Parameters = {}
        for kind, numbers in self:
            names = [kind] if len(set(numbers)) == 1 else [f"{kind}_{channel}" for channel in "rgb"]
            named |= dict(zip(names, numbers, strict=False))
        return named


def _grey(norm: Norm) -> Norm:
    if len(norm.mean) > 1 or len(norm.std) > 1:
        raise ValueError("must be one number for mean and one for std: digits are grey")
    return norm


# Training runs of LeNet


class Train(_Section):
    optimizer: Optimizer
    lr: Annotated[dict[Optimizer, Positive], BeforeValidator(lambda value: _for_each_optimizer(value))]
    momentum: Momentum
    epochs: Few
    batch_size: BatchSize
    gamma: Decay
    init: Init
    seed: Seed
    shuffle: bool
    threads: Threads

    @field_validator("lr")
    @classmethod
    def _complete(cls, value: dict[str, float]) -> dict[str, float]:
        if missing := [name for name in get_args(Optimizer) if name not in value]:
            raise ValueError(f"must be a number, or one for each of {', '.join(get_args(Optimizer))}: no {missing[0]}")
        return value


def _for_each_optimizer(value: object) -> object:
    if isinstance(value, dict):
        return value
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1e6:
        raise ValueError("must be greater than 0 and at most 1e6, or a number for each optimizer")
    return dict.fromkeys(get_args(Optimizer), value)


class Change(_Section):
    """What a trial of LeNet is told otherwise than `train` and `data` say."""

    train_images: TrainImages | None = None
    held_out: HeldOut | None = None
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


def _of_one_normalization(point: "PointOrGrid") -> "PointOrGrid":
    named, numbers = point.normalization is not None, [point.mean, point.std]
    if named == any(number is not None for number in numbers) or (not named and None in numbers):
        raise ValueError("must have a normalization by name, or mean and std")
    return point


class Point(Change):
    normalization: str | None = None
    mean: Number | None = None
    std: Positive | None = None
    seeds: Few | None = None

    _checked = model_validator(mode="after")(_of_one_normalization)


class Rule(_Section):
    margin: float = Field(gt=0, lt=1)
    confidence: float = Field(gt=0.5, lt=1)


class Grid(_Section):
    """Points with all combinations of these values."""

    normalization: list[str] | None = None
    mean: list[Number] | None = None
    std: list[Positive] | None = None
    init: list[Init] | None = None
    lr: list[Positive] | None = None

    _checked = model_validator(mode="after")(_of_one_normalization)

    def points(self) -> dict[str, Point]:
        """By a name that is made of their values."""
        axes = {name: values for name, values in self if values is not None}
        cells = (dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values()))
        return {_named(cell): Point.model_validate(cell) for cell in cells}


PointOrGrid = TypeVar("PointOrGrid", Point, Grid)


class Sides(_Section):
    """Points on both sides of a mean, at factors of the distance between it and the means at which training fails."""

    mean: Number
    factors: list[Positive]
    std: list[Positive]
    below: list[Number]  # for each std
    above: list[Number]

    @model_validator(mode="after")
    def _complete(self) -> "Sides":
        if not len(self.std) == len(self.below) == len(self.above):
            raise ValueError("below and above must have a mean for each std")
        return self

    def points(self) -> dict[str, Point]:
        """By a name that is made of their values."""
        points = {}
        for failing in (self.below, self.above):
            for (end, std), factor in itertools.product(zip(failing, self.std, strict=True), self.factors):
                cell = {"mean": round(self.mean + factor * (end - self.mean), 4), "std": std}
                points[_named(cell)] = Point.model_validate(cell)
        return points


def _named(cell: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value if isinstance(value, str) else f'{value:.4g}'}" for name, value in cell.items())


class Comparison(_Section):
    normalizations: list[str] = []
    points: dict[str, Point] = {}
    grid: Grid | None = None
    sides: Sides | None = None
    reference: str | None = "standard"
    seeds: Few
    train: Change = Change()

    def cells(self) -> dict[str, Point]:
        """The points of `grid` and of `sides`."""
        return {name: point for made in (self.grid, self.sides) if made for name, point in made.points().items()}

    def seeds_of(self, point: str) -> int:
        """How many seeds a point has."""
        return (point in self.points and self.points[point].seeds) or self.seeds

    @model_validator(mode="after")
    def _has_a_reference(self) -> "Comparison":
        for name, point in self.points.items():
            if name in self.normalizations or name == "seeds":
                raise ValueError(f"points.{name} must have another name: it is taken")
            if point.seeds and (point.seeds > self.seeds or name == self.reference):
                raise ValueError(f"points.{name}.seeds must be at most seeds ({self.seeds}), those of the reference")
        names = [*self.normalizations, *self.points, *self.cells()]
        if len(names) < 2 or self.reference not in (None, *names):
            raise ValueError(f"normalizations and points must have {self.reference}, its reference, and another")
        return self


class Selection(_Section):
    kind: Literal["died", "nearest_died", "learned", "best"]
    first: Few


class FollowUp(_Section):
    trials: Selection
    change: Change
    seeds: Few


# Searches


class Interval(_Section):
    low: Number
    high: Number
    log: bool = False

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


class _Space(_Section):
    def axes(self) -> dict[str, Interval | list[str]]:
        """What is named: intervals of numbers, lists of choices."""
        return {name: axis for name, axis in self if axis is not None}

    def free(self) -> list[str]:
        """The names of those that have more than one value."""
        return [name for name, axis in self.axes().items() if isinstance(axis, list) or axis.low < axis.high]


class LenetSpace(_Space):
    """What a trial of LeNet is told by a search; what is not named is as `train` says."""

    mean: Interval
    std: Above0
    weight_factor: Above0 | None = None
    bias_factor: Above0 | None = None
    lr: Above0 | None = None
    optimizer: Annotated[list[Optimizer], Field(min_length=1)] | None = None
    init: Annotated[list[Init], Field(min_length=1)] | None = None


class ColorSpace(_Space):
    """What a trial of a network for colour images is told: mean and std of all channels, or of each."""

    mean: Interval | None = None
    std: Above0 | None = None
    mean_r: Interval | None = None
    mean_g: Interval | None = None
    mean_b: Interval | None = None
    std_r: Above0 | None = None
    std_g: Above0 | None = None
    std_b: Above0 | None = None

    @model_validator(mode="after")
    def _complete(self) -> "ColorSpace":
        for kind in ("mean", "std"):
            of_channels = [f"{kind}_{channel}" for channel in "rgb"]
            named = [name for name in (kind, *of_channels) if name in self.axes()]
            if named not in ([kind], of_channels):
                raise ValueError(f"must have {kind}, or {', '.join(of_channels)}; has {', '.join(named) or 'neither'}")
        return self


SpaceOf = TypeVar("SpaceOf", bound=_Space)


class Search(_Section, Generic[SpaceOf]):
    n_trials: Count
    sampler: Literal["tpe", "random", "qmc", "grid", "gp"]
    seed: Seed
    batch: Few
    grid: int = Field(ge=2, le=1_000)
    tolerance: float = Field(ge=0, le=1)
    space: SpaceOf

    @field_validator("sampler", mode="before")
    @classmethod
    def _resumable(cls, value: object) -> object:
        if value == "cmaes":
            raise ValueError(
                "cannot go on from kept trials alone, as a resumed study must; accepted: tpe, gp, random, qmc"
            )
        return value

    @model_validator(mode="after")
    def _within_grid(self) -> "Search":
        axes, points = self.space.axes(), 1
        for name in self.space.free():
            axis = axes[name]
            points *= len(axis) if isinstance(axis, list) else self.grid
        if self.sampler == "grid" and self.n_trials > points:
            raise ValueError(f"n_trials ({self.n_trials}) must be at most {points}, the points of the grid")
        return self


class LenetSearch(Search[LenetSpace]):
    train: Change = Change()

    @model_validator(mode="after")
    def _has_rates(self) -> "LenetSearch":
        if self.space.optimizer and not self.space.lr and self.train.lr is None:
            raise ValueError("space.optimizer needs space.lr too, or a number as train.lr: rates differ by optimizer")
        return self


class ColorSearch(Search[ColorSpace]):
    pass


# Evidence


class Fold(_Section):
    normalizations: list[str] = Field(min_length=1)


class Contour(_Section):
    width: float = Field(ge=2, le=30)
    dpi: int = Field(ge=50, le=600)
    colormap: str

    @field_validator("colormap")
    @classmethod
    def _known_colormap(cls, value: str) -> str:
        from matplotlib import colormaps  # the workers of a study need none

        if value not in colormaps:
            raise ValueError("must be a colormap of matplotlib, such as viridis, cividis or Blues")
        return value


class Region(_Section):
    threshold: float = Field(ge=0, lt=1)


# Networks for colour images


class Sgd(_Section):
    epochs: Few
    lr: Positive
    momentum: Momentum
    weight_decay: float = Field(ge=0, le=1e6)
    schedule: Literal["constant", "linear"]


class ScratchPoint(_Section):
    normalization: str
    border: Number | None = None
    recalibrated: int | None = Field(default=None, ge=2, le=60_000)


class Scratch(_Section):
    normalizations: list[str]
    points: dict[str, ScratchPoint] = {}
    seeds: Few
    train_images: int = Field(ge=2, le=60_000)
    test_images: TestImages
    margin: float = Field(gt=0, lt=1)

    @field_validator("normalizations")
    @classmethod
    def _with_standard(cls, names: list[str]) -> list[str]:
        if "standard" not in names:
            raise ValueError("must have one named standard, which the others are compared with")
        return names

    @model_validator(mode="after")
    def _distinct(self) -> "Scratch":
        if taken := sorted(set(self.points) & {*self.normalizations, "seeds"}):
            raise ValueError(f"points.{taken[0]} must have another name: it is taken")
        if len(self.normalizations) + len(self.points) < 2:
            raise ValueError("normalizations and points must have standard and another")
        return self


class Resnet(_Section):
    arch: str
    train_images: int = Field(ge=2, le=60_000)
    test_images: int = Field(ge=4, le=10_000)
    batch_size: int = Field(ge=2, le=60_000)
    seed: Seed
    threads: Threads
    norm: Annotated[Norm, AfterValidator(_grey)]
    others: list[str] = Field(min_length=1)
    train: Sgd
    fine_tune: Sgd
    scratch: Scratch


class Imagenet(_Section):
    arch: str
    weights: str | None
    data: str
    train_images: Count
    test_images: int = Field(ge=4, le=1_000_000)
    batch_size: int = Field(ge=2, le=60_000)
    seed: Seed
    threads: Threads
    others: list[str] = Field(min_length=1)
    fine_tune: Sgd
    sweep: ColorSearch
    channels: ColorSearch


class Run(_Section):
    device: str
    workers: int | str
    scheduler: str | None
    mnist: str | None
    imagenet: str | None

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", value):
            raise ValueError("must be auto, cpu, cuda, cuda:N (N a number) or mps")
        return value

    @field_validator("workers", mode="plain")
    @classmethod
    def _auto_or_count(cls, value: object) -> int | str:
        if value == "auto" or (type(value) is int and 1 <= value <= 1_024):
            return value
        raise ValueError("must be auto or a whole number, 1 to 1024")


# All of it


class Params(_Section):
    data: Data
    normalizations: dict[str, Norm]
    norm: Annotated[Norm, AfterValidator(_grey)]
    train: Train
    sweep: LenetSearch
    comparisons: dict[Name, Comparison]
    follow_ups: dict[Name, FollowUp]
    searches: dict[Name, LenetSearch]
    rule: Rule
    region: Region
    fold: Fold
    contour: Contour
    resnet: Resnet
    imagenet: Imagenet
    run: Run

    def told(self, *changes: Change) -> Parameters:
        """All that a trial of LeNet is told but its normalization: `train` and `data`, with the changes made in turn.

        What has no effect is left out, so that trials that are the same are told the same.
        """
        told: dict[str, Any] = {"train_images": self.data.train_images}
        told |= self.train.model_dump(exclude={"threads"})
        for change in changes:
            told |= change.model_dump(exclude_none=True, exclude={"normalization", "mean", "std", "seeds"})
        if isinstance(told["lr"], dict):
            told["lr"] = told["lr"][told["optimizer"]]
        if told["optimizer"] != "sgd":
            del told["momentum"]
        if "held_out" in told:  # never among the images that train
            told["train_images"] = min(told["train_images"], ALL_IMAGES - told["held_out"])
        if (start := told.pop("start", None)) is not None:
            told |= {f"start_{name}": number for name, number in self.normalizations[start].parameters().items()}
        return told

    def fixed(self, search: LenetSearch) -> Parameters:
        """All that the trials of a search are told but what is searched."""
        axes, told = search.space.axes(), self.told(search.train)
        if "optimizer" in axes:  # of sgd, if it is proposed
            told["momentum"] = self.told(search.train, Change(optimizer="sgd"))["momentum"]
        return {name: value for name, value in told.items() if name not in axes}

    def points(self, comparison: Comparison) -> dict[str, Parameters]:
        """All that the trials of a comparison are told, by the name of the point; their seed is that of the first."""
        points: dict[str, Parameters] = {}
        for name in comparison.normalizations:
            points[name] = self.normalizations[name].parameters() | self.told(comparison.train)
        for name, point in (comparison.points | comparison.cells()).items():
            own = {"mean": point.mean, "std": point.std}
            norm = self.normalizations[point.normalization] if point.normalization else Norm.model_validate(own)
            told = norm.parameters() | self.told(comparison.train, point)
            if name in comparison.points or told not in points.values():  # a cell may have a name of its own already
                points[name] = told
        return points

    @model_validator(mode="after")
    def _distinct_names(self) -> "Params":
        taken = {path.stem: f"the stage {path.stem}" for path in Path(__file__).parents[1].glob("*.py")}
        for section in ("comparisons", "follow_ups", "searches"):
            for name in getattr(self, section):
                if name in taken:
                    raise ValueError(f"{section}.{name}: must have another name: it is that of {taken[name]}")
                taken[name] = f"an entry of {section}"
        return self

    @model_validator(mode="after")
    def _complete(self) -> "Params":
        for section, name in RESTED_ON:
            if name not in getattr(self, section):
                raise ValueError(f"{section}.{name} is missing: curves, map, region or report rest on it")
        for name in DRAWN:
            if self.comparisons[name].reference != "standard":
                raise ValueError(f"comparisons.{name}.reference must be standard: a picture shows differences from it")
        return self

    @model_validator(mode="after")
    def _drawn(self) -> "Params":
        maps = {"sweep": self.sweep.space, "imagenet.sweep": self.imagenet.sweep.space}
        for section, space in maps.items():
            for name in ("mean", "std"):
                if name not in space.free():
                    raise ValueError(f"{section}.space.{name} must have low and high: it is an axis of the picture")
        for name, search in self.searches.items():
            if len(search.space.free()) != 2:
                names = ", ".join(search.space.axes())
                raise ValueError(f"searches.{name}.space: two of {names} must have low and high, or be lists")
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
        for key, comparison in self.comparisons.items():
            yield from ((f"comparisons.{key}.normalizations", name, True) for name in comparison.normalizations)
            for point, told in comparison.points.items():
                if told.normalization:
                    yield f"comparisons.{key}.points.{point}.normalization", told.normalization, True
            for name in (comparison.grid and comparison.grid.normalization) or []:
                yield f"comparisons.{key}.grid.normalization", name, True
        for key, change in self._changes():
            if change.start:
                yield f"{key}.start", change.start, True
        yield from (("fold.normalizations", name, True) for name in self.fold.normalizations)
        yield from (("resnet.others", name, True) for name in self.resnet.others)
        yield from (("imagenet.others", name, False) for name in self.imagenet.others)
        yield from (("resnet.scratch.normalizations", name, True) for name in self.resnet.scratch.normalizations)
        points = self.resnet.scratch.points.items()
        yield from ((f"resnet.scratch.points.{name}", point.normalization, True) for name, point in points)

    def _changes(self) -> Iterator[tuple[str, Change]]:
        for name, comparison in self.comparisons.items():
            yield f"comparisons.{name}.train", comparison.train
            yield from ((f"comparisons.{name}.points.{key}", point) for key, point in comparison.points.items())
        yield from ((f"follow_ups.{name}.change", follow_up.change) for name, follow_up in self.follow_ups.items())
        yield from ((f"searches.{name}.train", search.train) for name, search in self.searches.items())
        yield "sweep.train", self.sweep.train


def load(path: Path = PATH) -> Params:
    """The settings of the study.

    raises: InputError naming the key, its value and what is accepted, one line for each key that is wrong
    """
    try:
        content = YAML(typ="safe", pure=True).load(path)  # YAML 1.2, as DVC writes it: 1e-05 is a number
    except (OSError, ValueError, RecursionError, YAMLError) as error:
        raise InputError(f"{path}: cannot be read: {short(' '.join(str(error).split()) or 'too deep')}") from None
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        lines = dict.fromkeys(_line(path, problem) for problem in error.errors())
        raise InputError("\n".join(lines) + f" (`git restore {path}` brings back the committed settings)") from None
    except RecursionError:
        raise InputError(f"{path}: cannot be read: too deep, or a mapping that contains itself") from None


def _line(path: Path, problem: Mapping[str, Any]) -> str:
    keys = [str(key) for key in problem["loc"]]
    key = short(".".join(keys)) or "the file"
    if problem["type"] == "missing":
        return f"{path}: {key} is missing"
    if problem["type"] == "extra_forbidden":
        return f"{path}: {key} is no known key; accepted here: {', '.join(_fields(keys[:-1]))}"
    value = _value(problem["input"])
    if problem["type"] == "model_type":
        return f"{path}: {key} = {value}: must hold keys of its own"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if not keys and isinstance(problem["input"], dict):  # sections that contradict each other, which the message names
        return f"{path}: {message}"
    if isinstance(problem["input"], dict):  # keys that do
        return f"{path}: {key}: {message}"
    return f"{path}: {key} = {value}: {message}"


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
    annotation: Any = Params
    for key in keys:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            annotation = annotation.model_fields[key].annotation
        else:  # a list or a mapping of sections: what its items are
            annotation = get_args(annotation)[-1]
    return list(annotation.model_fields)
