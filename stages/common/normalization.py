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
