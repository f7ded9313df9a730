"""Normalization: the only place where pixels become the inputs of a network."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, model_validator

if TYPE_CHECKING:
    import torch  # takes seconds, and settings are checked first

Numbers = float | Sequence[float]  # one number for all channels, or one for each


def _channels(value: object) -> tuple[float, ...]:
    given: list[object] = list(value) if isinstance(value, list | tuple) else [value]
    numbers = [part for part in given if isinstance(part, int | float) and not isinstance(part, bool)]
    if len(given) not in (1, 3) or len(numbers) != len(given) or not all(abs(number) <= 1e6 for number in numbers):
        raise ValueError("must be a finite number, or three, for red, green and blue, each at most 1e6")
    return tuple(map(float, numbers))


def _positive(numbers: tuple[float, ...]) -> tuple[float, ...]:
    if min(numbers) <= 0:
        raise ValueError("must be greater than 0")
    return numbers


class Section(BaseModel, strict=True, frozen=True, allow_inf_nan=False):
    """A section of params.yaml, which refuses unknown keys."""

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: object) -> object:
        if isinstance(value, dict) and (unknown := [key for key in value if key not in cls.model_fields]):
            raise ValueError(f"{unknown[0]} is no known key; accepted here: {', '.join(cls.model_fields)}")
        return value


class Normalization(Section):
    """(pixel / 255 - mean) / std; mean, std: 1 float for all channels, or 3 (red, green, blue)"""

    mean: Annotated[tuple[float, ...], BeforeValidator(_channels)]
    std: Annotated[tuple[float, ...], BeforeValidator(_channels), AfterValidator(_positive)]

    @classmethod
    def of(cls, mean: Numbers, std: Numbers) -> "Normalization":
        """mean, std: in the unit of pixel / 255"""
        return cls.model_validate({"mean": mean, "std": std})

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, float]) -> "Normalization":
        """The inverse of `parameters`; ignores other parameters of a trial."""
        numbers = [
            [parameters[name] for name in ([kind] if kind in parameters else _by_channel(kind))]
            for kind in cls.model_fields
        ]
        return cls.of(*numbers)

    def parameters(self) -> dict[str, float | int | str]:
        """As parameters of a trial: mean or mean_r, mean_g, mean_b; std or std_r, std_g, std_b."""
        named: dict[str, float | int | str] = {}
        for kind, numbers in self:
            names = [kind] if len(set(numbers)) == 1 else _by_channel(kind)
            named |= dict(zip(names, numbers, strict=False))
        return named

    def __call__(self, pixels: "torch.Tensor", dtype: "torch.dtype | None" = None) -> "torch.Tensor":
        """pixels: uint8 (N, C, H, W), 0..255; returns: float32 or `dtype`, same shape, memory format and device"""
        values = pixels.to(dtype) if dtype else pixels.float()
        mean, std = (values.new_tensor(numbers).view(-1, 1, 1) for _, numbers in self)
        return values.div_(255).sub_(mean).div_(std)


def _by_channel(kind: str) -> list[str]:
    return [f"{kind}_{channel}" for channel in "rgb"]
