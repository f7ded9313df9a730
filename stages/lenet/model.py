"""The notebook's network, from the PyTorch examples (github.com/pytorch/examples, mnist/main.py)."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

UNITS = (9216, 128)  # inputs of the two dropouts, for each image
KEEP1, KEEP2 = 0.75, 0.5  # the share of units that each keeps
MASK_BYTES = sum(UNITS) // 8  # for each image
SILENT_BATCH = 50  # images at a time when silent units are counted


class LeNet(nn.Module):
    """Computes the notebook's function, but faster: two convolutions, two linear layers, 1,199,882 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.fc1 = nn.Linear(9216, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, images: torch.Tensor, masks: torch.Tensor | None = None) -> torch.Tensor:
        """Log-probabilities, float32 (N, 10), for normalized images, float32 (N, 1, 28, 28).

        masks: as `draw_masks` returns them, in training; None: no dropout
        """
        # On a CPU, convolutions and pooling stay in oneDNN's memory layout: nothing is reordered between them, and its
        # kernels are the fastest. (Its ReLU turns NaN into 0, but NaN would take inputs above 1e30.)
        onednn = images.device.type == "cpu" and torch.backends.mkldnn.is_available()
        x = F.relu(self.conv1(images.to_mkldnn() if onednn else images), inplace=True)
        x = F.max_pool2d(self.conv2(x), 2, 2)
        x = (x.to_dense() if onednn else x).flatten(1)
        # After the pooling, the ReLU sees a quarter of the data. After the dropout, its gradient is 0 at dropped units,
        # so dropout needs no backward pass. Dropout's factor 1 / KEEP1 comes after the matrix product.
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
    """The share of silent units in each hidden layer: units that are 0 after the ReLU for all images.

    images: normalized, float32 (N, 1, 28, 28)
    """
    largest: dict[str, list[torch.Tensor]] = {"conv1": [], "conv2": [], "fc1": []}
    for part in images.split(SILENT_BATCH):
        conv1 = model.conv1(part)
        conv2 = F.max_pool2d(model.conv2(F.relu(conv1)), 2)
        fc1 = model.fc1(F.relu(conv2).flatten(1))
        for values, layer in zip(largest.values(), (conv1, conv2, fc1), strict=True):
            values.append(layer.amax(0))  # before the ReLU
    return {name: (torch.stack(values).amax(0) <= 0).double().mean().item() for name, values in largest.items()}


def draw_masks(count: int) -> torch.Tensor:
    """Masks of both dropouts for a batch, as nn.Dropout draws them in the notebook, from torch's global random state.

    returns: uint8 (count, MASK_BYTES), on the CPU: a bit for each unit, 70 MB instead of 560 for an epoch of MNIST
    """
    drawn = [
        torch.empty(count, units, dtype=torch.int32).bernoulli_(keep).bool()
        for units, keep in zip(UNITS, (KEEP1, KEEP2), strict=True)
    ]
    packed = np.packbits(torch.cat(drawn, dim=1).numpy(), bitorder="little")
    return torch.from_numpy(packed).view(count, MASK_BYTES)


def unpack(packed: torch.Tensor) -> torch.Tensor:
    """Bytes (N, M) as bits, the lowest first: 0 or 1, uint8 (N, 8 M)."""
    return (packed.unsqueeze(2) >> torch.arange(8, dtype=torch.uint8, device=packed.device) & 1).flatten(1)
