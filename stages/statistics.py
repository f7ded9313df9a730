"""Stage `statistics`: where 0.1307 and 0.3081 come from."""

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
    # No share is below 1e-4: six digits of the shares give five of mean and std.
    shares = [(np.bincount(images.flatten(), minlength=256) / images.numel()).tolist() for images in parts.values()]
    files.write_csv(Path("plots/pixels.csv"), ("value", *parts), zip(range(256), *shares, strict=True))
    values: dict[str, dict] = {}
    for name, images in parts.items():
        std, mean = (number.item() for number in torch.std_mean(images.double() / 255, correction=0))
        values[name] = {"images": len(images), "mean": mean, "std": std}
        print(f"statistics: {name}: mean {mean:.6f}, std {std:.6f} of {images.numel():,} pixels")
    values["averaged"] = {f"batches_of_{size}": averaged_std(data.train_images, size) for size in BATCHES}
    files.write_json(Path("metrics/statistics.json"), values)


def averaged_std(images: torch.Tensor, size: int) -> dict[str, float]:
    """The mean of the batches' standard deviations, which is smaller than the standard deviation of all pixels.

    It ignores how batches differ in their means (law of total variance) and in their standard deviations (Jensen):

        std of all pixels^2 = averaged_std^2 + std_of_means^2 + std_of_stds^2

    Batches are weighted by their images, as the last one may be smaller.

    size:    images in a batch, in the order of the file
    returns: in the unit of pixel / 255
    """
    batches = images.split(size)
    weights = [len(batch) for batch in batches]
    stds, means = np.array([torch.stack(torch.std_mean(batch.double() / 255, correction=0)) for batch in batches]).T
    of_stds, of_means = np.sqrt(np.cov([stds, means], fweights=weights, ddof=0).diagonal())
    return {"averaged_std": np.average(stds, weights=weights), "std_of_means": of_means, "std_of_stds": of_stds}
