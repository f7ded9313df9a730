"""The notebook's network, from the PyTorch examples (github.com/pytorch/examples, mnist/main.py)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

KEEP1, KEEP2 = 0.75, 0.5  # the shares of units that the two dropouts keep


class Masks(NamedTuple):
    """Which units the dropouts keep for one batch of N images, eight in a byte (`pack`)."""

    units1: torch.Tensor  # of N x 9216
    units2: torch.Tensor  # of N x 128

    @classmethod
    def draw(cls, count: int) -> "Masks":
        """Masks for `count` images from torch's global random state: those that nn.Dropout draws in the notebook."""
        units1 = torch.empty(count * 9216, dtype=torch.int32).bernoulli_(KEEP1)
        units2 = torch.empty(count * 128, dtype=torch.int32).bernoulli_(KEEP2)
        return cls(pack(units1.bool()), pack(units2.bool()))


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
    conv1 = model.conv1(images)
    conv2 = F.max_pool2d(model.conv2(F.relu(conv1)), 2)
    fc1 = model.fc1(F.relu(conv2).flatten(1))
    layers = {"conv1": conv1, "conv2": conv2, "fc1": fc1}
    return {name: (units.amax(0) <= 0).double().mean().item() for name, units in layers.items()}


def pack(mask: torch.Tensor) -> torch.Tensor:
    """Booleans (8 N in all) as bits: uint8 (N,). Bit b of byte n is the boolean b * N + n: fast to unpack."""
    return (mask.reshape(8, -1) * _bits(mask.device)).sum(0, dtype=torch.uint8)


def unpack(packed: torch.Tensor) -> torch.Tensor:
    """What has been packed, as booleans (8 N,)."""
    return (packed & _bits(packed.device)).bool().flatten()


def _bits(device: torch.device) -> torch.Tensor:
    return (2 ** torch.arange(8, device=device)).to(torch.uint8).unsqueeze(1)
