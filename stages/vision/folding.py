"""A change of normalization absorbed into a network's first convolution, exactly: the same function of the pixels.

Kernel and bias absorb it (see `normalization.fold`). Zero padding stands for a pixel of value `mean`: it is replaced by
the value of such a pixel under the other normalization.
"""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from stages.common import normalization
from stages.common.normalization import Normalization


class Padded(nn.Module):
    """A convolution whose input is framed by a constant, another one for each channel, where it has zeros by itself.

    conv:   pads in any of the ways that `frame` knows
    border: float tensor (channels,)
    """

    def __init__(self, conv: nn.Conv2d, border: torch.Tensor):
        super().__init__()
        self.conv = conv
        self.register_buffer("border", border)
        self.border: torch.Tensor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        count, _, height, width = images.shape
        left, right, top, bottom = frame(self.conv, height, width)
        framed = self.border.view(1, -1, 1, 1).repeat(count, 1, height + top + bottom, width + left + right)
        framed[:, :, top : top + height, left : left + width] = images
        return F.conv2d(framed, self.conv.weight, self.conv.bias, self.conv.stride, 0, self.conv.dilation)


def frame(conv: nn.Conv2d, height: int, width: int) -> tuple[int, int, int, int]:
    """How many zeros a convolution adds to images of that size: left, right, top, bottom.

    raises: ValueError for a padding by something else than zeros, and for classes of convolutions that are not known
    """
    if conv.padding_mode != "zeros":
        raise ValueError(f"{conv} pads by {conv.padding_mode}; accepted: zeros")
    sides: list[int] = []
    for axis, size in ((1, width), (0, height)):
        span = conv.dilation[axis] * (conv.kernel_size[axis] - 1)
        if (
            type(conv).__name__ == "Conv2dSame"
        ):  # timm's, which pads as TensorFlow: so that size / stride is what comes out
            total = max((-(-size // conv.stride[axis]) - 1) * conv.stride[axis] + span + 1 - size, 0)
        elif type(conv) is not nn.Conv2d:
            raise ValueError(f"{type(conv).__name__} is not known; accepted: torch's Conv2d and timm's Conv2dSame")
        elif isinstance(conv.padding, str):
            total = span if conv.padding == "same" else 0
        else:
            total = 2 * int(conv.padding[axis])
        sides += [total // 2, total - total // 2]
    return sides[0], sides[1], sides[2], sides[3]


def border(conv: nn.Conv2d, own: Normalization, new: Normalization) -> torch.Tensor:
    """What a pixel that is 0 under `own` is under `new`: float tensor (channels,)."""
    mean, new_mean, new_std = (torch.tensor(part, dtype=torch.float64) for part in (own.mean, new.mean, new.std))
    return ((mean - new_mean) / new_std).expand(conv.in_channels).to(conv.weight)


def fold(conv: nn.Conv2d, own: Normalization, new: Normalization) -> Padded:
    """The convolution that gives for images under the normalization `new` what `conv` gives for them under `own`.

    returns: a convolution of the same shape, with a bias, framed by constants
    raises:  ValueError for a convolution with groups, or with a padding that `frame` does not know
    """
    if conv.groups != 1:
        raise ValueError(f"cannot fold a normalization into {conv}: accepted is one group")
    frame(conv, 1, 1)
    weight, bias = normalization.fold(conv.weight, conv.bias, own, new)
    folded = copy.deepcopy(conv)
    folded.bias = nn.Parameter(bias.to(conv.weight, copy=True))
    with torch.no_grad():  # computed in float64, and rounded once
        folded.weight.copy_(weight)
    return Padded(folded, border(conv, own, new))
