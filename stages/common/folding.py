"""Folds a change of normalization into a network's first convolution, so that the network's outputs stay the same.

Zero padding acts like pixels of value `mean`; after folding, the padding has the value of such pixels.
"""

import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from stages.common.normalization import Normalization

Network = TypeVar("Network", bound=nn.Module)


class Padded(nn.Module):
    """A convolution that pads with `border`, a float tensor (channels,), instead of zeros."""

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
    """Zeros added at the left, right, top, bottom; raises: ValueError for other padding or unknown classes"""
    if conv.padding_mode != "zeros":
        raise ValueError(f"{conv} pads by {conv.padding_mode}; accepted: zeros")
    sides: list[int] = []
    for axis, size in ((1, width), (0, height)):
        span = conv.dilation[axis] * (conv.kernel_size[axis] - 1)
        if type(conv).__name__ == "Conv2dSame":  # timm's, pads as TensorFlow: output size / stride, rounded up
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
    """The value under `new` of a pixel that is 0 under `own`: float tensor (channels,)."""
    mean, new_mean, new_std = (torch.tensor(part, dtype=torch.float64) for part in (own.mean, new.mean, new.std))
    return ((mean - new_mean) / new_std).expand(conv.in_channels).to(conv.weight)


@torch.no_grad()
def fold(conv: nn.Conv2d, own: Normalization, new: Normalization) -> nn.Conv2d:
    """A copy with a bias that gives the same for pixels under `new` as `conv` under `own`, except at the padding.

    With x = (pixel - mean) / std and x' = (pixel - mean') / std', x = (std' x' + mean' - mean) / std in each channel:
    the kernel takes the factor, the bias the shift. They are computed in float64 and rounded once.

    raises: ValueError for a convolution with groups
    """
    if conv.groups != 1:
        raise ValueError(f"cannot fold a normalization into {conv}: accepted is one group")
    mean, std, new_mean, new_std = (
        torch.tensor(part, dtype=torch.float64, device=conv.weight.device).expand(conv.in_channels)
        for part in (own.mean, own.std, new.mean, new.std)
    )
    weight, folded = conv.weight.double(), copy.deepcopy(conv)
    shift = weight.sum((2, 3)) @ ((new_mean - mean) / std)
    folded.weight.copy_(weight * (new_std / std).view(1, -1, 1, 1))
    folded.bias = nn.Parameter((shift if conv.bias is None else conv.bias + shift).to(conv.weight))
    return folded


def folded(network: Network, own: Normalization, new: Normalization) -> Network:
    """A copy that gives the same under `new` as `network` under `own`, up to rounding; raises: as `fold` and `frame`"""
    network = copy.deepcopy(network)
    name, conv = first_convolution(network)
    pads, moved = any(frame(conv, 1, 1)), fold(conv, own, new)
    replace(network, name, Padded(moved, border(conv, own, new)) if pads else moved)
    return network.eval()


def first_convolution(network: nn.Module) -> tuple[str, nn.Conv2d]:
    """Name and module of the first convolution; raises: StopIteration if there is none"""
    return next((name, part) for name, part in network.named_modules() if isinstance(part, nn.Conv2d))


def replace(network: nn.Module, name: str, part: nn.Module) -> None:
    """Replaces the module called `name`, in place."""
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, part)
