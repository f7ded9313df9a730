"""Stage `statistics`: where 0.1307 and 0.3081 come from."""

import math
from pathlib import Path

import numpy as np
import torch

from stages.common import files, mnist
from stages.settings.params import Params

BATCHES = (64, 1)  # images that copied code averages over: a training batch, or single images


def main(settings: Params) -> None:
    """Always over all of MNIST, however much of it a study uses."""
    data = mnist.load(60_000, 10_000)
    parts = {"train": data.train_images, "test": data.test_images}
    counts = {name: np.bincount(images.flatten(), minlength=256) for name, images in parts.items()}
    # No share is below 1e-4: six digits of the shares give five of mean and std.
    shares = [(count / count.sum()).tolist() for count in counts.values()]
    files.write_csv(Path("plots/pixels.csv"), ("value", *parts), zip(range(256), *shares, strict=True))
    values: dict[str, dict] = {}
    for name, images in parts.items():
        mean, std = mean_and_std(counts[name])
        values[name] = {"images": len(images), "mean": mean, "std": std}
        print(f"statistics: {name}: mean {mean:.6f}, std {std:.6f} of {counts[name].sum():,} pixels")
    values["averaged"] = {f"batches_of_{size}": averaged_std(data.train_images, size) for size in BATCHES}
    files.write_json(Path("metrics/statistics.json"), values)


def mean_and_std(counts: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation (divided by N) of pixel / 255. Integer sums: only the last divisions round.

    counts: int64 array (256,), how many pixels have each value
    """
    n, total, squares = (int((counts * np.arange(256) ** power).sum()) for power in range(3))
    return total / n / 255, math.sqrt((n * squares - total**2) / n**2) / 255


def averaged_std(images: torch.Tensor, size: int) -> dict[str, float]:
    """The mean of the batches' standard deviations, which is smaller than the standard deviation of all pixels.

    It ignores how batches differ in their means (law of total variance) and in their standard deviations (Jensen):

        std of all pixels^2 = averaged_std^2 + std_of_means^2 + std_of_stds^2

    Batches are weighted by their images, as the last one may be smaller.

    images:  uint8 tensor (N, 1, 28, 28), raw pixels 0..255
    size:    images in a batch, in the order of the file
    returns: in the unit of pixel / 255
    """
    pixels = images.numpy().reshape(len(images), -1).astype(np.int64)
    starts = np.arange(0, len(images), size)
    n, total, squares = (np.add.reduceat((pixels**power).sum(axis=1), starts) for power in range(3))
    means, stds = total / n / 255, np.sqrt(n * squares - total**2) / n / 255
    of_means, of_stds = np.sqrt(np.cov([means, stds], fweights=n, ddof=0).diagonal())
    return {"averaged_std": np.average(stds, weights=n), "std_of_means": of_means, "std_of_stds": of_stds}
