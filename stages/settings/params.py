"""params.yaml, read once and checked whole: its keys as types. What they mean for trials is said in `study.design`.

Defaults are None or empty: what a key that is not given means is decided where it is used, where DVC sees a change.
"""

import re
import reprlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import AfterValidator, BaseModel, Field, PlainValidator, ValidationError, create_model, model_validator
from yamlcore import CoreLoader

from stages.common.errors import InputError, reason, short
from stages.common.normalization import Normalization, Section

reprlib.aRepr.maxstring = reprlib.aRepr.maxother = 100  # characters of a value in an error: a path must fit

PATH = Path("params.yaml")
SWEEP = "sweep"  # a study that is a section of its own
OWN = "own"  # a trained network's own normalization, where a study names normalizations

# Bounds that no real use meets: beyond them, a slip of the keyboard would run for ever, or take all memory.
Count = Annotated[int, Field(ge=1, le=1_000_000)]
SmallCount = Annotated[int, Field(ge=1, le=10_000)]  # of epochs, seeds, trials at once
Threads = Annotated[int, Field(ge=1, le=1_024)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Number = Annotated[float, Field(ge=-1e6, le=1e6)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
ALL_IMAGES = 60_000  # of MNIST's training part
TrainImages = Annotated[int, Field(ge=1, le=ALL_IMAGES)]
TestImages = Annotated[int, Field(ge=1, le=10_000)]
BatchImages = Annotated[int, Field(ge=2, le=ALL_IMAGES)]  # of images: batch statistics need two
Optimizer = Literal["adadelta", "sgd", "adam"]
Treatment = Literal["as_is", "recalibrated", "folded", "fine_tuned"]  # of a trained network, in this order
Init = Literal["default", "he_normal", "zero_bias"]
Name = Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]  # of an entry: also that of stages, files and columns
Parameters = dict[str, float | int | str]  # of a trial, by name
Item = TypeVar("Item")
NonEmpty = Annotated[list[Item], Field(min_length=1)]


def _optional(section: type[BaseModel], keys: Collection[str]) -> Any:
    """A section that has these keys of another one, all of them optional."""
    given = {key: field for key, field in section.model_fields.items() if key in keys}
    fields: Any = {key: (Annotated[field.annotation, field] | None, None) for key, field in given.items()}
    return create_model(section.__name__, __base__=Section, **fields)


def _grey(norm: Normalization) -> Normalization:
    if len(norm.parameters()) > 2:
        raise ValueError("must be one number for mean and one for std: digits are grey")
    return norm


Grey = Annotated[Normalization, AfterValidator(_grey)]


# Training


class Data(Section):
    train_images: TrainImages
    test_images: TestImages


def _rates(value: Any) -> dict[str, float]:
    optimizers = get_args(Optimizer)
    rates = value if isinstance(value, dict) else dict.fromkeys(optimizers, value)
    valid = all(type(rate) in (int, float) and 0 < rate <= 1e6 for rate in rates.values())
    if not valid or rates.keys() != {*optimizers}:
        raise ValueError(f"must be a number above 0, or one for each of {', '.join(optimizers)}")
    return {optimizer: float(rate) for optimizer, rate in rates.items()}


class Train(Section):
    optimizer: Optimizer
    lr: Annotated[dict[str, float], PlainValidator(_rates)]
    momentum: Momentum
    epochs: SmallCount
    batch_size: int = Field(ge=1, le=ALL_IMAGES)
    gamma: float = Field(gt=0, le=1)
    init: Init
    seed: Seed
    shuffle: bool
    threads: Threads


class Overrides(_optional(Train, Train.model_fields.keys() - {"lr", "threads"})):  # type: ignore[misc]
    """Parameters in which trials of LeNet differ from `train` and `data`."""

    train_images: TrainImages | None = None
    held_out: int | None = Field(default=None, ge=1, lt=ALL_IMAGES)
    lr: Positive | None = None
    start: Name | None = None


class Sgd(Section):
    epochs: SmallCount
    lr: Positive
    momentum: Momentum
    weight_decay: float = Field(ge=0, le=1e6)
    schedule: Literal["constant", "linear"]


class Scratch(Section):
    train_images: BatchImages
    test_images: TestImages


class Resnet(Section):
    arch: str
    train_images: BatchImages
    test_images: int = Field(ge=4, le=10_000)
    batch_size: BatchImages
    seed: Seed
    threads: Threads
    norm: Grey
    train: Sgd
    fine_tune: Sgd
    scratch: Scratch


class Imagenet(Section):
    arch: str
    weights: str | None
    data: str
    train_images: Count
    test_images: int = Field(ge=4, le=1_000_000)
    batch_size: BatchImages
    seed: Seed
    threads: Threads
    fine_tune: Sgd


class Network(_optional(Imagenet, {"arch", "weights", "batch_size"})):  # type: ignore[misc]
    """Keys that replace those of `imagenet` in one study."""


# Studies


class Interval(Section):
    """An axis of a search; where `low` is `high`, the axis is fixed."""

    low: Number
    high: Number
    log: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _fixed(cls, value: object) -> object:
        return {"low": value, "high": value} if type(value) in (int, float) else value

    @model_validator(mode="after")
    def _ordered(self) -> "Interval":
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g}) must not be above high ({self.high:g})")
        if self.log and self.low <= 0:
            raise ValueError(f"low ({self.low:g}) must be above 0 where log is true")
        return self


AXES = ("mean", "std", "mean_r", "mean_g", "mean_b", "std_r", "std_g", "std_b", "lr")
AxisName = Annotated[str, Field(pattern=f"^({'|'.join(AXES)})$")]


def _space(space: dict[str, Interval]) -> dict[str, Interval]:
    for name, axis in space.items():
        if name.startswith(("std", "lr")) and axis.low <= 0:
            raise ValueError(f"{name} must be above 0")
    ordered = {name: space[name] for name in AXES if name in space}  # samplers depend on the order
    for kind in ("mean", "std"):
        channels = [f"{kind}_{channel}" for channel in "rgb"]
        if (named := [name for name in ordered if name.startswith(kind)]) not in ([kind], channels):
            raise ValueError(f"must have {kind}, or {', '.join(channels)}; has {', '.join(named) or 'neither'}")
    return ordered


Space = Annotated[dict[AxisName, Interval], AfterValidator(_space)]


class Search(Section):
    n_trials: Count
    sampler: Literal["tpe", "random", "qmc", "gp"]
    seed: Seed
    batch: SmallCount
    space: Space


def _of_lenet(search: Search) -> Search:
    if not {"mean", "std"} <= search.space.keys():
        raise ValueError("space must have one mean and one std: digits are grey")
    return search


def _one_normalization(point: "Point | Grid") -> "Point | Grid":
    given = [name for name in ("normalization", "mean", "std") if getattr(point, name) is not None]
    if given not in (["normalization"], ["mean", "std"]) and (given or isinstance(point, Grid)):
        raise ValueError("must have a normalization by name, or mean and std")
    return point


class Point(Overrides):
    """Without normalization, mean and std, it has the normalization of its name."""

    normalization: Name | None = None
    mean: Number | None = None
    std: Positive | None = None
    seeds: SmallCount | None = None
    border: Number | None = None
    recalibrated: BatchImages | None = None


class Grid(Section):
    normalization: NonEmpty[str] | None = None
    mean: NonEmpty[Number] | None = None
    std: NonEmpty[Positive] | None = None
    lr: NonEmpty[Positive] | None = None


class Trial(Section):
    name: str = Field(pattern=r"^[A-Za-z]\w*$")
    code: Name
    settings: Literal["train", "resnet", "imagenet"]
    reads: str


class Study(Section):
    trial: Trial
    title: str | None = None
    normalizations: list[str] = Field([])
    points: dict[Name, Annotated[Point, AfterValidator(_one_normalization)]] = Field({})
    grid: Annotated[Grid, AfterValidator(_one_normalization)] | None = None
    seeds: SmallCount | None = None
    search: Search | None = None
    treatments: NonEmpty[Treatment] | None = None
    train: Overrides = Overrides()
    imagenet: Network = Network()

    @property
    def of_lenet(self) -> bool:
        return self.trial.settings == "train"

    @property
    def has_points(self) -> bool:
        return bool(self.normalizations or self.points or self.grid)

    def named(self) -> Iterator[tuple[str, str | None]]:
        """The normalizations that it names, by key."""
        yield from (("normalizations", name) for name in self.normalizations)
        yield from (("grid.normalization", name) for name in (self.grid and self.grid.normalization) or ())
        yield "train.start", self.train.start
        for name, point in self.points.items():
            yield f"points.{name}", point.normalization or (name if point.mean is None else None)
            yield f"points.{name}.start", point.start

    @model_validator(mode="after")
    def _one_design(self) -> "Study":
        if self.has_points == bool(self.search) and (self.search or self.trial.name != "ImagesTrial"):
            raise ValueError("must have either points (normalizations, points, grid) or search")
        if self.treatments and tuple(self.treatments) != get_args(Treatment)[: len(self.treatments)]:
            known = ", ".join(get_args(Treatment))
            raise ValueError(f"treatments = {self.treatments}: must be the first ones of {known}")
        lenet, scratch = self.of_lenet, self.trial.name == "ScratchTrial"
        seeds = scratch or (lenet and not self.search)
        if seeds and self.seeds is None:
            raise ValueError("must have seeds: training runs of each point, 1 or more")
        takes = {"seeds": seeds, "search": not scratch, "treatments": not (lenet or scratch)}
        takes |= {"train": lenet, "imagenet": self.trial.settings == "imagenet"}
        point_takes = dict.fromkeys(Overrides.model_fields, lenet)
        point_takes |= {"seeds": seeds, "border": scratch, "recalibrated": scratch}
        given = self.model_dump(exclude_defaults=True)
        useless = [key for key in given if not takes.get(key, True)]
        for name, point in given.get("points", {}).items():
            useless += [f"points.{name}.{key}" for key in point if not point_takes.get(key, True)]
        axes = {"grid": given.get("grid", {}), "search.space": given.get("search", {}).get("space", {})}
        useless += [f"{key}.lr" for key, names in axes.items() if "lr" in names and not lenet]
        if useless:
            raise ValueError(f"{useless[0]} has no effect on trials of class {self.trial.name}")
        if lenet and self.search:
            _of_lenet(self.search)
        for name, point in self.points.items():
            if name in self.normalizations:
                raise ValueError(f"points.{name} must have another name: it is one of normalizations")
            if point.seeds and point.seeds > (self.seeds or 1):
                raise ValueError(f"points.{name}.seeds = {point.seeds}: must be at most seeds, {self.seeds}")
        return self


# Evidence


class Rule(Section):
    reference: Name
    margin: float = Field(gt=0, lt=1)
    confidence: float = Field(gt=0.5, lt=1)
    threshold: float = Field(ge=0, lt=1)
    tolerance: float = Field(ge=0, le=1)
    studies: "dict[Name, StudyRule]" = Field({})

    def for_study(self, study: str) -> "Rule":
        """The rule for one study, with its exceptions."""
        exceptions = self.studies.get(study, StudyRule()).model_dump(exclude_none=True)
        return self.model_copy(update=exceptions | {"studies": {}})


class StudyRule(_optional(Rule, Rule.model_fields.keys() - {"studies"})):  # type: ignore[misc]
    """Exceptions to the rule for one study."""


class Fold(Section):
    normalizations: NonEmpty[str]


def _colormap(name: str) -> str:
    from matplotlib import colormaps  # the workers of a study need none

    if name not in colormaps:
        raise ValueError("must be a colormap of matplotlib, such as viridis, cividis or Blues")
    return name


class Look(Section):
    width: float = Field(ge=2, le=30)
    dpi: int = Field(ge=50, le=600)
    colormap: Annotated[str, AfterValidator(_colormap)]


class Figure(Section):
    kind: Literal["rates", "cells", "law", "seeds", "epochs", "networks", "map"]
    studies: list[Name] = Field(min_length=1, max_length=9)
    title: str


class Report(Section):
    answer: list[str]
    table: list[Name]
    columns: list[Name]
    headline: list[Annotated[str, Field(pattern=r"^[a-z0-9_]+\.[a-z0-9_]+$")]]


def _workers(value: object) -> object:
    if value == "auto" or (type(value) is int and 1 <= value <= 1_024):
        return value
    raise ValueError("must be auto or a whole number, 1 to 1024")


class Run(Section):
    device: str = Field(pattern="^(auto|cpu|mps|cuda(:[0-9]{1,3})?)$")
    workers: Annotated[int | str, PlainValidator(_workers)]
    scheduler: str | None
    mnist: str | None
    imagenet: str | None


class Params(Section):
    data: Data
    normalizations: dict[Name, Normalization]
    norm: Grey
    train: Train
    sweep: Annotated[Search, AfterValidator(_of_lenet)]
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

    def for_study(self, study: str) -> "Params":
        """The settings for one study, with those of its published network."""
        network = self.studies[study].imagenet.model_dump(exclude_none=True)
        return self.model_copy(update={"imagenet": self.imagenet.model_copy(update=network)})

    @model_validator(mode="after")
    def _names(self) -> "Params":
        """Checks names that refer to other sections; makes the sweep one of the studies."""
        stages = {path.stem for path in Path(__file__).parents[1].glob("*.py")}
        for key in ("studies", "figures"):
            if taken := sorted(stages & set(getattr(self, key))):
                raise ValueError(f"{key}.{taken[0]}: must have another name: it is that of a stage")
        if OWN in self.normalizations:
            raise ValueError(f"normalizations.{OWN}: must have another name: it is a trained network's own")
        lenet = Trial(name="LenetTrial", code="lenet", settings="train", reads="data/mnist")
        studies = {SWEEP: Study(trial=lenet, search=self.sweep)} | self.studies
        if unknown := sorted(self.rule.studies.keys() - studies):
            raise ValueError(f"rule.studies.{unknown[0]}: no such study; accepted: {', '.join(studies)}")
        points = {*self.normalizations, OWN}.union(*(study.points for study in studies.values()))
        for name in (self.rule.reference, *(each.reference for each in self.rule.studies.values())):
            if name is not None and name not in points:
                raise ValueError(f"rule.reference = {name!r}: no study has a point of this name")
        grey = {name for name, norm in self.normalizations.items() if len(norm.parameters()) == 2}
        named: list[tuple[str, str | None, set[str]]]
        named = [("fold.normalizations", norm, grey) for norm in self.fold.normalizations]
        for name, study in studies.items():
            accepted = {*self.normalizations} if study.trial.settings == "imagenet" else grey
            trained = {OWN} if study.seeds is None and not study.of_lenet else set()
            named += [(f"studies.{name}.{key}", norm, accepted | trained) for key, norm in study.named()]
        for key, norm, accepted in named:
            if norm is not None and norm not in accepted:
                raise ValueError(f"{key} = {norm!r}: accepted here: {', '.join(sorted(accepted))}")
        return self.model_copy(update={"studies": studies})


def load(path: Path = PATH) -> Params:
    """raises: InputError with a line for each key that is wrong: its value and what is accepted"""
    try:
        try:
            return Params.model_validate(yaml.load(path.read_text(encoding="utf-8"), CoreLoader))
        except ValidationError as error:
            lines = dict.fromkeys(_line(path, problem) for problem in error.errors())
        raise InputError("\n".join(lines))
    except InputError:
        raise
    except Exception as error:  # whatever a damaged file can raise, such as one with a mapping that contains itself
        raise InputError(f"{path}: cannot be read: {reason(error)}") from None


def _line(path: Path, problem: Mapping[str, Any]) -> str:
    keys = [str(key) for key in problem["loc"] if key != "[key]"]
    key, value = short(".".join(keys)), problem["input"]
    if not isinstance(value, dict):  # else keys contradict each other, which the message names
        key = f"{key or 'the file'} = {short(reprlib.repr(value))}"
    message = re.sub(r"^\w+ should", "must", problem["msg"].removeprefix("Value error, "))
    return ": ".join(filter(None, (str(path), key, message)))
