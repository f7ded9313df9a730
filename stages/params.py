"""params.yaml, read once and checked whole: the only place that knows its keys."""

import re
from collections.abc import Collection
from math import isfinite
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar, get_args

import yaml
from matplotlib import colormaps
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

PATH = Path("params.yaml")

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[float, Field(gt=0)]


class InputError(SystemExit):
    """What is wrong with the user's input, in one line: uncaught, it ends the process with this line and status 1."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Data(_Section):
    train_images: int = Field(ge=1, le=60_000)
    test_images: int = Field(ge=1, le=10_000)


class Norm(_Section):
    mean: float
    std: Positive


class Train(_Section):
    epochs: Count
    batch_size: Count
    lr: Positive
    gamma: float = Field(gt=0, le=1)
    seed: Seed
    shuffle: bool
    threads: Count


class Interval(_Section):
    low: float
    high: float
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
    def intervals(self) -> dict[str, Interval]:
        """Those that are named."""
        return {name: interval for name, interval in self if interval is not None}


class Space(_Space):
    """What a trial of LeNet is described by; what is not named stays as it is by default."""

    mean: Interval
    std: Above0
    weight_factor: Above0 | None = None
    bias_factor: Above0 | None = None


class ColorSpace(_Space):
    """What a trial of ResNet is described by: mean and std of all channels, or of each."""

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
            named = [name for name in (kind, *of_channels) if name in self.intervals()]
            if named not in ([kind], of_channels):
                raise ValueError(f"must have {kind}, or {', '.join(of_channels)}; has {', '.join(named) or 'neither'}")
        return self


SpaceOf = TypeVar("SpaceOf", bound=_Space)


class Sweep(_Section, Generic[SpaceOf]):
    n_trials: Count
    sampler: Literal["tpe", "random", "qmc", "grid", "gp"]
    seed: Seed
    batch: Count
    grid: int = Field(ge=2)
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
    def _within_grid(self) -> "Sweep":
        free = [interval for interval in self.space.intervals().values() if interval.low < interval.high]
        points = self.grid ** len(free)
        if self.sampler == "grid" and self.n_trials > points:
            raise ValueError(f"n_trials ({self.n_trials}) must be at most {points}, the points of the grid")
        return self


class LenetSweep(Sweep[Space]):
    pass


class ResnetSweep(Sweep[ColorSpace]):
    pass


Named = TypeVar("Named", bound=Collection[str])


def _with_standard(names: Named) -> Named:
    if "standard" not in names:
        raise ValueError("must have one named standard, which the others are compared with")
    return names


class Replicates(_Section):
    normalizations: Annotated[dict[str, Norm], Field(min_length=2), AfterValidator(_with_standard)]
    seeds: Count
    margin: float = Field(gt=0, lt=1)
    confidence: float = Field(gt=0.5, lt=1)


class Longer(_Section):
    normalizations: Annotated[list[str], Field(min_length=2), AfterValidator(_with_standard)]
    seeds: Count
    epochs: Count


class Revival(_Section):
    trials: Count
    mean: float
    std: Positive


class Folded(_Section):
    pairs: list[tuple[float, Positive]] = Field(min_length=1)

    @field_validator("pairs", mode="before")
    @classmethod
    def _tuples(cls, value: object) -> object:
        return [tuple(pair) if isinstance(pair, list) else pair for pair in value] if isinstance(value, list) else value


def _three(value: object) -> "Three":
    given: list[object] = list(value) if isinstance(value, list | tuple) else [value] * 3
    numbers = [float(part) for part in given if isinstance(part, int | float) and not isinstance(part, bool)]
    if len(given) != 3 or len(numbers) != 3 or not all(map(isfinite, numbers)):
        raise ValueError("must be a finite number, or three: one each for red, green and blue")
    red, green, blue = numbers
    return red, green, blue


def _three_positive(value: object) -> "Three":
    numbers = _three(value)
    if min(numbers) <= 0:
        raise ValueError("must be greater than 0")
    return numbers


Three = tuple[float, float, float]


class ColorNorm(_Section):
    mean: Annotated[Three, BeforeValidator(_three)]
    std: Annotated[Three, BeforeValidator(_three_positive)]


class Sgd(_Section):
    epochs: Count
    lr: Positive
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    schedule: Literal["constant", "linear"]


class Scratch(_Section):
    normalizations: Annotated[dict[str, ColorNorm], Field(min_length=2), AfterValidator(_with_standard)]
    seeds: Count
    train_images: int = Field(ge=2, le=60_000)
    test_images: int = Field(ge=1, le=10_000)


class Resnet(_Section):
    arch: str
    weights: str | None
    data: str
    size: Count
    crop: float = Field(gt=0, le=1)
    train_images: Count
    test_images: Count
    batch_size: int = Field(ge=2)
    seed: Seed
    threads: Count
    norm: ColorNorm
    others: list[ColorNorm] = Field(min_length=1)
    recalibration_images: int = Field(ge=2)
    train: Sgd
    fine_tune: Sgd
    scratch: Scratch
    sweep: ResnetSweep
    channels: ResnetSweep

    @model_validator(mode="after")
    def _consistent(self) -> "Resnet":
        if self.data == "mnist" and self.size != 28:
            raise ValueError(f"size ({self.size}) must be 28 where data is mnist")
        if self.recalibration_images > self.train_images:
            raise ValueError(
                f"recalibration_images ({self.recalibration_images}) must be at most train_images ({self.train_images})"
            )
        return self


class Contour(_Section):
    width: float = Field(ge=2, le=30)
    dpi: int = Field(ge=50, le=600)
    colormap: str

    @field_validator("colormap")
    @classmethod
    def _known_colormap(cls, value: str) -> str:
        if value not in colormaps:
            raise ValueError("must be a colormap of matplotlib, such as viridis, cividis or Blues")
        return value


class Region(_Section):
    threshold: float = Field(ge=0, lt=1)
    plateau: float = Field(ge=0, le=1)
    folds: int = Field(ge=2)
    seed: Seed


class Run(_Section):
    device: str
    workers: int | str
    scheduler: str | None
    mnist: str | None

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
            raise ValueError("must be auto, cpu, cuda, cuda:N (N a number) or mps")
        return value

    @field_validator("workers", mode="plain")
    @classmethod
    def _auto_or_count(cls, value: object) -> int | str:
        if value == "auto" or (type(value) is int and value >= 1):
            return value
        raise ValueError("must be auto or a whole number of 1 or more")


class Params(_Section):
    data: Data
    norm: Norm
    train: Train
    sweep: LenetSweep
    replicates: Replicates
    longer: Longer
    revival: Revival
    folded: Folded
    initialization: LenetSweep
    contour: Contour
    region: Region
    resnet: Resnet
    run: Run

    @model_validator(mode="after")
    def _drawn(self) -> "Params":
        drawn: dict[str, tuple[Sweep, tuple[str, str]]] = {
            "sweep": (self.sweep, ("mean", "std")),
            "initialization": (self.initialization, ("weight_factor", "bias_factor")),
            "resnet.sweep": (self.resnet.sweep, ("mean", "std")),
        }
        for section, (sweep, names) in drawn.items():
            intervals = sweep.space.intervals()
            for name in names:
                if name not in intervals or intervals[name].low == intervals[name].high:
                    raise ValueError(f"{section}.space.{name} must have low and high: it is an axis of the picture")
        return self

    @model_validator(mode="after")
    def _known_normalizations(self) -> "Params":
        known = self.replicates.normalizations
        if unknown := [name for name in self.longer.normalizations if name not in known]:
            raise ValueError(
                f"longer.normalizations: {unknown[0]!r} is none of replicates.normalizations: {', '.join(known)}"
            )
        return self


def load(path: Path = PATH) -> Params:
    """The settings of the study.

    raises: InputError naming the key, its value and what is accepted, one line for each key that is wrong
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        lines = dict.fromkeys(_line(path, problem) for problem in error.errors())
        raise InputError("\n".join(lines)) from None


def _line(path: Path, problem) -> str:
    keys = [str(key) for key in problem["loc"]]
    key = ".".join(keys) or "the file"
    if problem["type"] == "missing":
        return f"{path}: {key} is missing"
    if problem["type"] == "extra_forbidden":
        section: type[BaseModel] = Params
        for name in keys[:-1]:
            if name in section.model_fields:  # else the number of an item in a list of sections
                annotation = section.model_fields[name].annotation
                section = (*get_args(annotation), annotation)[0]  # of a list's items, or of an optional one
        return f"{path}: {key} is no known key; accepted here: {', '.join(section.model_fields)}"
    if problem["type"] == "model_type":
        return f"{path}: {key} = {problem['input']!r}: must hold keys of its own"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if not keys and isinstance(problem["input"], dict):  # sections that contradict each other, which the message names
        return f"{path}: {message}"
    if isinstance(problem["input"], dict):  # keys that do
        return f"{path}: {key}: {message}"
    return f"{path}: {key} = {problem['input']!r}: {message}"
