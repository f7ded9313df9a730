"""Normalization of images: the one place where pixels become what a network sees."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

Numbers = float | Sequence[float]  # one for all channels, or one for each


class Normalization(NamedTuple):
    """(pixel / 255 - mean) / std, with one mean and std for all channels, or one for each."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, mean: Numbers, std: Numbers) -> "Normalization":
        """mean, std: in the unit of pixel / 255"""
        return cls(*(tuple(part) if isinstance(part, Sequence) else (part,) for part in (mean, std)))

    def __call__(self, pixels: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """pixels: uint8 (N, C, H, W), 0..255; returns: floats of the same shape, memory format and device"""
        mean, std = (torch.tensor(part, dtype=dtype, device=pixels.device).view(-1, 1, 1) for part in self)
        return pixels.to(dtype).div_(255).sub_(mean).div_(std)


def fold(
    weight: torch.Tensor, bias: torch.Tensor | None, own: Normalization, new: Normalization
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of the convolution that gives under `new` what the given ones give for a pixel under `own`.

    It sees x = (pixel - mean) / std. For other numbers mean', std' the same pixel is x' = (pixel - mean') / std', so
    that x = (std' x' + mean' - mean) / std, channel by channel: the kernel takes the factor, the bias the shift.

    weight:  float (out, in, height, width), of a convolution of one group; bias: float (out,), or None for zeros
    returns: the same shapes, float64
    """
    channels = weight.shape[1]
    mean, std, new_mean, new_std = (
        torch.tensor(part, dtype=torch.float64, device=weight.device).expand(channels) for part in (*own, *new)
    )
    weight = weight.detach().double()
    shift = weight.sum((2, 3)) @ ((new_mean - mean) / std)
    return weight * (new_std / std).view(1, -1, 1, 1), shift if bias is None else bias.detach() + shift
