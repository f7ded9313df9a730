"""A change of normalization absorbed into a network's first convolution, exactly: the same function of the pixels.

Kernel and bias absorb it (see `normalization.fold`). Zero padding stands for a pixel of value `mean`: it is replaced by
the value of such a pixel under the other normalization.
"""

import copy

import torch
from torch import nn

from stages.common import normalization
from stages.common.normalization import Normalization


class Padded(nn.Module):
    """A convolution whose input is framed by a constant, another one for each channel, where zeros were before."""

    def __init__(self, conv: nn.Conv2d, border: torch.Tensor, width: tuple[int, int]):
        super().__init__()
        self.conv = conv
        self.width = width
        self.register_buffer("border", border)
        self.border: torch.Tensor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        count, _, height, width = images.shape
        top, left = self.width
        framed = self.border.view(1, -1, 1, 1).repeat(count, 1, height + 2 * top, width + 2 * left)
        framed[:, :, top : top + height, left : left + width] = images
        return self.conv(framed)


def fold(conv: nn.Conv2d, own: Normalization, new: Normalization) -> nn.Conv2d | Padded:
    """The convolution that gives for images under the normalization `new` what `conv` gives for them under `own`.

    returns:  a convolution of the same shape, with a bias; framed by constants (`Padded`) if `conv` pads with zeros
    raises:   ValueError for a convolution with groups, or with a padding other than a number of zeros
    """
    if conv.groups != 1 or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        raise ValueError(f"cannot fold a normalization into {conv}: accepted are one group and zeros as padding")
    weight, bias = normalization.fold(conv.weight, conv.bias, own, new)
    folded = copy.deepcopy(conv)
    folded.padding, folded.bias = (0, 0), nn.Parameter(bias.to(conv.weight, copy=True))
    with torch.no_grad():  # computed in float64, and rounded once
        folded.weight.copy_(weight)
    if not any(conv.padding):
        return folded
    mean, new_mean, new_std = (torch.tensor(part, dtype=torch.float64) for part in (own.mean, *new))
    border = ((mean - new_mean) / new_std).expand(conv.in_channels).to(conv.weight)
    return Padded(folded, border, tuple(conv.padding))  # type: ignore[arg-type]
