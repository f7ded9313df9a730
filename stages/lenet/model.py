"""The notebook's network, from the PyTorch examples (github.com/pytorch/examples, mnist/main.py)."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

UNITS = (9216, 128)  # that the two dropouts see, for each image
KEEP1, KEEP2 = 0.75, 0.5  # the shares of units that they keep
MASK_BYTES = sum(UNITS) // 8  # for each image
SILENT_BATCH = 50  # images at a time when silent units are counted


class LeNet(nn.Module):
    """Two convolutions and two fully connected layers, 1,199,882 weights: the notebook's function, made fast."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.fc1 = nn.Linear(9216, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, images: torch.Tensor, masks: torch.Tensor | None = None) -> torch.Tensor:
        """Log-probabilities, float32 (N, 10).

        images: normalized, float32 (N, 1, 28, 28)
        masks:  of the dropouts, in training (see `draw_masks`); None in a test, where all units count
        """
        # On a CPU, the convolutions and the pooling stay in oneDNN's own memory layout: nothing is reordered between
        # them, and its kernels are the fastest there. (Its ReLU takes NaN for 0, but NaN needs inputs above 1e30.)
        onednn = images.device.type == "cpu" and torch.backends.mkldnn.is_available()
        x = F.relu(self.conv1(images.to_mkldnn() if onednn else images), inplace=True)
        x = F.max_pool2d(self.conv2(x), 2, 2)
        x = (x.to_dense() if onednn else x).flatten(1)
        # The ReLU comes after the pooling, on a quarter of the data, and after the dropout, whose zeros it passes on,
        # to the gradient too: one backward pass for both. The dropout's factor 1 / KEEP1 waits until after the product.
        if masks is not None:
            mask1, mask2 = unpack(masks).split(UNITS, dim=1)
            x.detach().mul_(mask1)
        x = F.linear(F.relu(x, inplace=True), self.fc1.weight)
        x = F.relu((x if masks is None else x / KEEP1) + self.fc1.bias)
        if masks is not None:
            x = x * mask2 / KEEP2
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


def draw_masks(count: int) -> torch.Tensor:
    """Which units the dropouts keep for `count` images: those that nn.Dropout draws in the notebook for one batch.

    They are drawn from torch's global random state.

    returns: uint8 (count, MASK_BYTES), on the CPU: a bit for each unit, 70 MB instead of 560 for an epoch of MNIST
    """
    drawn = [
        torch.empty(count, units, dtype=torch.int32).bernoulli_(keep).bool()
        for units, keep in zip(UNITS, (KEEP1, KEEP2), strict=True)
    ]
    packed = np.packbits(torch.cat(drawn, dim=1).numpy(), bitorder="little")
    return torch.from_numpy(packed).view(count, MASK_BYTES)


def unpack(packed: torch.Tensor) -> torch.Tensor:
    """The bits of bytes (N, M), the lowest first, as 0 and 1: uint8 (N, 8 M)."""
    return (packed.unsqueeze(2) >> torch.arange(8, dtype=torch.uint8, device=packed.device) & 1).flatten(1)
