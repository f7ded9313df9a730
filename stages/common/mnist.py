"""MNIST as published by LeCun, Cortes and Burges: four files, verified by their hashes, read as tensors."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from stages.common.errors import InputError

FOLDER = Path("data/mnist")

# The SHA-256 of the unpacked files, as published on the authors' site in 1998.
FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class Data(NamedTuple):
    """Images: uint8 tensors (N, 1, 28, 28), raw pixels 0..255. Labels: int64 tensors (N,), digits 0..9."""

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor

    def to(self, device: torch.device) -> "Data":
        """The same on `device`, still as bytes: 55 MB for all of MNIST."""
        return Data(*(part.to(device) for part in self))

    def part(self, train_images: int, held_out: int) -> "Data":
        """The first `train_images` to train on; held_out: test on the last N training images; 0: on the test images"""
        images, labels, rest = self.train_images, self.train_labels, len(self.train_images) - held_out
        tests = (images[rest:], labels[rest:]) if held_out else (self.test_images, self.test_labels)
        return Data(images[:train_images], labels[:train_images], *tests)


def fault(path: Path) -> str | None:
    """How the file differs from the published one of its name, in words; None if it does not."""
    sha256 = FILES[path.name]
    try:
        actual = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if actual == sha256 else f"SHA-256 {actual[:8]}… instead of {sha256[:8]}…"


def load(train_images: int, test_images: int, folder: Path = FOLDER) -> Data:
    """The first digits of both parts; raises: InputError if a file is missing or not the published one"""
    for name in FILES:
        if wrong := fault(folder / name):
            raise InputError(f"{folder / name}: {wrong}; `dvc repro download` fetches the published file")
    return Data(*(_idx(folder / name, train_images if "train" in name else test_images) for name in FILES))


def _idx(path: Path, count: int) -> torch.Tensor:
    # IDX: a magic number and the size of each dimension, four bytes each, then the items.
    if "labels" in path.name:
        return torch.from_numpy(np.fromfile(path, np.uint8, count, offset=8)).long()
    return torch.from_numpy(np.fromfile(path, np.uint8, count * 28 * 28, offset=16)).view(-1, 1, 28, 28)
