"""Stage `statistics`: where 0.1307 and 0.3081 come from."""

import math
from pathlib import Path

import numpy as np
import torch

from stages.common import files, mnist
from stages.settings.params import Params

BATCHES = (64, 1)  # images: a batch as in training, and the loop over single images that is copied as often


def main(settings: Params) -> None:
    """Always over all of MNIST: the published numbers do not depend on how much of it a study uses."""
    data = mnist.load(60_000, 10_000)
    parts = {"train": data.train_images, "test": data.test_images}
    counts = {name: np.bincount(images.flatten(), minlength=256) for name, images in parts.items()}
    files.write_csv(
        Path("plots/pixels.csv"),
        ("value", *parts),
        # No share is below 1e-4: rounded to six digits, they give mean and std to five.
        zip(range(256), *((count / count.sum()).tolist() for count in counts.values()), strict=True),
    )
    values: dict[str, dict] = {}
    for name, images in parts.items():
        mean, std = mean_and_std(counts[name])
        values[name] = {"images": len(images), "mean": mean, "std": std}
        print(f"statistics: {name}: mean {mean:.6f}, std {std:.6f} of {counts[name].sum():,} pixels")
    values["averaged"] = {f"batches_of_{size}": averaged_std(data.train_images, size) for size in BATCHES}
    files.write_json(Path("metrics/statistics.json"), values)


def mean_and_std(counts: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of pixel / 255 over all pixels together: divided by N, as these are all there are.

    Sums are integers, so nothing is rounded before the last division.

    counts: int64 array (256,), how many pixels have each value
    """
    n, total, squares = (int((counts * np.arange(256) ** power).sum()) for power in range(3))
    return total / n / 255, math.sqrt((n * squares - total**2) / n**2) / 255


def averaged_std(images: torch.Tensor, size: int) -> dict[str, float]:
    """What averaging the standard deviation over batches gives instead of the one of all pixels: less.

    A batch's is measured from the batch's own mean, so the spread of these means is lost (law of total variance); and
    the mean of roots is at most the root of the mean (Jensen). With both spreads nothing is missing:

        std of all pixels^2 = averaged_std^2 + std_of_means^2 + std_of_stds^2

    Every batch counts by its images, as the last one may be smaller.

    images:  uint8 tensor (N, 1, 28, 28), raw pixels 0..255
    size:    images in a batch, in the order of the file
    returns: in the unit of pixel / 255
    """
    pixels = images.numpy().reshape(len(images), -1).astype(np.int64)
    starts = np.arange(0, len(images), size)
    n, total, squares = (np.add.reduceat((pixels**power).sum(axis=1), starts) for power in range(3))
    means, stds = total / n / 255, np.sqrt(n * squares - total**2) / n / 255
    averaged = np.average(stds, weights=n)
    return {
        "averaged_std": averaged,
        "std_of_means": math.sqrt(np.average((means - np.average(means, weights=n)) ** 2, weights=n)),
        "std_of_stds": math.sqrt(np.average((stds - averaged) ** 2, weights=n)),
    }
