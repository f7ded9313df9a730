"""The notebook's network, from the PyTorch examples (github.com/pytorch/examples, mnist/main.py)."""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

UNITS = (9216, 128)  # that the two dropouts see, for each image
KEEP1, KEEP2 = 0.75, 0.5  # the shares of units that they keep
SILENT_BATCH = 50  # images at a time when silent units are counted


class Masks(NamedTuple):
    """Which units the dropouts keep for N images, eight in a byte (`pack`)."""

    units1: torch.Tensor  # of N x 9216
    units2: torch.Tensor  # of N x 128

    @classmethod
    def empty(cls, count: int) -> "Masks":
        """Room for `count` images."""
        return cls(*(torch.empty(count * units // 8, dtype=torch.uint8) for units in UNITS))

    def draw(self) -> None:
        """Draws them from torch's global random state: those that nn.Dropout draws in the notebook for one batch."""
        for packed, keep in zip(self, (KEEP1, KEEP2), strict=True):
            drawn = torch.empty(8 * len(packed), dtype=torch.int32).bernoulli_(keep)
            packed.copy_(pack(drawn.bool()))

    def split(self, size: int) -> Iterator["Masks"]:
        """Those of batches of `size` images, in the same memory."""
        parts = (packed.split(size * units // 8) for packed, units in zip(self, UNITS, strict=True))
        return (Masks(*part) for part in zip(*parts, strict=True))

    def to(self, device: torch.device) -> "Masks":
        return Masks(*(packed.to(device) for packed in self))


class LeNet(nn.Module):
    """Two convolutions and two fully connected layers, 1,199,882 weights: the notebook's function, made fast."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.fc1 = nn.Linear(9216, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, images: torch.Tensor, masks: Masks | None = None) -> torch.Tensor:
        """Log-probabilities, float32 (N, 10).

        images: normalized, float32 (N, 1, 28, 28)
        masks:  of the dropouts, in training; None in a test, where all units count
        """
        # On a CPU, the convolutions and the pooling stay in oneDNN's own memory layout: nothing is reordered between
        # them, and its kernels are the fastest there. (Its ReLU takes NaN for 0, but NaN needs inputs above 1e30.)
        onednn = images.device.type == "cpu" and torch.backends.mkldnn.is_available()
        x = F.relu(self.conv1(images.to_mkldnn() if onednn else images), inplace=True)
        x = F.max_pool2d(self.conv2(x), 2, 2)
        x = (x.to_dense() if onednn else x).flatten(1)
        # The ReLU comes after the pooling, on a quarter of the data, and after the dropout, whose zeros it passes on,
        # to the gradient too: one backward pass for both. The dropout's factor 1 / KEEP1 waits until after the product.
        if masks:
            x.detach().mul_(unpack(masks.units1).view_as(x))
        x = F.linear(F.relu(x, inplace=True), self.fc1.weight)
        x = F.relu((x / KEEP1 if masks else x) + self.fc1.bias)
        if masks:
            x = x * unpack(masks.units2).view_as(x) / KEEP2
        return F.log_softmax(self.fc2(x), dim=1)


@torch.no_grad()
def silent(model: LeNet, images: torch.Tensor) -> dict[str, float]:
    """The share of units in each hidden layer that are silent, 0 after the ReLU, for every one of the images.

    images: normalized, float32 (N, 1, 28, 28)
    returns: by layer: of the 32 x 26 x 26 units of conv1, the 64 x 12 x 12 of conv2 (pooled), the 128 of fc1
    """
    largest = [_largest(model, part) for part in images.split(SILENT_BATCH)]
    names = ("conv1", "conv2", "fc1")
    return {
        name: (torch.stack(parts).amax(0) <= 0).double().mean().item()
        for name, parts in zip(names, zip(*largest, strict=True), strict=True)
    }


def _largest(model: LeNet, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The largest value before the ReLU, over the images, of every unit of conv1, conv2 (pooled) and fc1."""
    conv1 = model.conv1(images)
    conv2 = F.max_pool2d(model.conv2(F.relu(conv1)), 2)
    fc1 = model.fc1(F.relu(conv2).flatten(1))
    return conv1.amax(0), conv2.amax(0), fc1.amax(0)


def pack(mask: torch.Tensor) -> torch.Tensor:
    """Booleans (8 N in all) as bits: uint8 (N,). Bit b of byte n is the boolean 8 n + b."""
    bits = (2 ** torch.arange(8, device=mask.device)).to(torch.uint8)
    return (mask.reshape(-1, 8) * bits).sum(1, dtype=torch.uint8)


def unpack(packed: torch.Tensor) -> torch.Tensor:
    """What has been packed, as 0 and 1: float32 (8 N,)."""
    return F.embedding(packed.int(), _bytes(packed.device)).flatten()


@lru_cache
def _bytes(device: torch.device) -> torch.Tensor:
    """The bits of every byte: float32 (256, 8). Looking them up is faster than computing them."""
    return ((torch.arange(256).unsqueeze(1) >> torch.arange(8)) & 1).float().to(device)
