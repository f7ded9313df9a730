"""The published mean and standard deviation, from the pixels themselves."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SETTINGS

from stages import statistics
from stages.common import mnist


@pytest.fixture(scope="module")
def data(digits: Path) -> mnist.Data:
    return mnist.load(60_000, 10_000, digits)


def test_mean_and_std_are_those_of_all_pixels_and_the_published_ones(data: mnist.Data, here, monkeypatch) -> None:
    monkeypatch.setattr(mnist, "load", lambda *counts: data)
    statistics.main(SETTINGS)
    metrics = json.loads(Path("metrics/statistics.json").read_text())
    pixels = pd.read_csv("plots/pixels.csv")
    assert pixels["value"].tolist() == list(range(256))
    values = pixels["value"] / 255
    for name, images in {"train": data.train_images, "test": data.test_images}.items():
        values_of, counts = (each.numpy() for each in images.unique(return_counts=True))
        mean = np.average(values_of / 255, weights=counts)
        std = math.sqrt(np.average((values_of / 255 - mean) ** 2, weights=counts))
        assert metrics[name] == {"images": len(images), "mean": round(mean, 6), "std": round(std, 6)}
        assert pixels[name][0] == pytest.approx((images == 0).double().mean().item(), abs=1e-6)
        mean_of_table = (pixels[name] * values).sum()
        assert mean_of_table == pytest.approx(mean, abs=5e-5)
        assert (pixels[name] * (values - mean_of_table) ** 2).sum() == pytest.approx(std**2, abs=5e-5)
    assert (round(metrics["train"]["mean"], 4), round(metrics["train"]["std"], 4)) == (0.1307, 0.3081)


@pytest.mark.parametrize("size", [64, 1, 1000])  # one batch of everything loses nothing
def test_averaged_std_is_lower_by_the_two_spreads_that_it_loses(size: int, data: mnist.Data) -> None:
    images = data.train_images[:1000]  # the last of 16 batches of 64 has 40 images
    spreads = statistics.averaged_std(images, size)
    pixels = images.double() / 255
    std, batches = pixels.std(correction=0).item(), pixels.split(size)
    expected = sum(batch.std(correction=0).item() * len(batch) for batch in batches) / len(images)
    assert spreads["averaged_std"] == pytest.approx(expected, rel=1e-9)
    assert (std - spreads["averaged_std"] > 1e-9) == (size < 1000)
    assert math.hypot(*spreads.values()) == pytest.approx(std, rel=1e-12)
