"""A change of normalization absorbed into a network's first convolution, exactly: the same function of the pixels.

A convolution sees x = (pixel - mean) / std. For other numbers mean', std' the same pixel is x' = (pixel - mean') /
std', so that x = (std' x' + mean' - mean) / std, channel by channel: the kernel takes the factor, the bias the shift.
Zero padding stands for a pixel of value `mean`: it is replaced by what such a pixel is under the other normalization.
"""

import copy
from collections.abc import Sequence

import torch
from torch import nn

Numbers = float | Sequence[float]  # one for all channels, or one for each


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


def fold(conv: nn.Conv2d, own: tuple[Numbers, Numbers], new: tuple[Numbers, Numbers]) -> nn.Conv2d | Padded:
    """The convolution that gives for images under the normalization `new` what `conv` gives for them under `own`.

    own, new: mean and std, in the same unit; (0, 1) are the pixels as they are
    returns:  a convolution of the same shape, with a bias; framed by constants (`Padded`) if `conv` pads with zeros
    raises:   ValueError for a convolution with groups, or with a padding other than a number of zeros
    """
    if conv.groups != 1 or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        raise ValueError(f"cannot fold a normalization into {conv}: accepted are one group and zeros as padding")
    mean, std, new_mean, new_std = (_channels(numbers, conv) for numbers in (*own, *new))
    weight = conv.weight.detach().double()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach()
    folded = copy.deepcopy(conv)
    folded.padding, folded.bias = (0, 0), nn.Parameter(bias.to(conv.weight, copy=True))
    with torch.no_grad():  # computed in float64, and rounded once
        folded.weight.copy_(weight * (new_std / std).view(1, -1, 1, 1))
        folded.bias.copy_(bias + weight.sum((2, 3)) @ ((new_mean - mean) / std))
    if not any(conv.padding):
        return folded
    return Padded(folded, ((mean - new_mean) / new_std).to(conv.weight), tuple(conv.padding))  # type: ignore[arg-type]


def _channels(numbers: Numbers, conv: nn.Conv2d) -> torch.Tensor:
    given = torch.as_tensor(numbers, dtype=torch.float64, device=conv.weight.device)
    return given.expand(conv.in_channels)
