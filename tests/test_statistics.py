"""The published mean and standard deviation, from the pixels themselves."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
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
        std, mean = (number.item() for number in torch.std_mean(images.double() / 255, correction=0))
        assert metrics[name] == {"images": len(images), "mean": round(mean, 6), "std": round(std, 6)}
        assert pixels[name][0] == pytest.approx((images == 0).double().mean().item(), abs=1e-6)
        mean_of_table = (pixels[name] * values).sum()
        assert mean_of_table == pytest.approx(mean, abs=5e-5)
        assert (pixels[name] * (values - mean_of_table) ** 2).sum() == pytest.approx(std**2, abs=5e-5)
    assert (round(metrics["train"]["mean"], 4), round(metrics["train"]["std"], 4)) == (0.1307, 0.3081)


def test_sums_are_exact_where_float32_is_not() -> None:
    counts = np.zeros(256, np.int64)
    counts[[254, 255]] = 10**9, 10**9
    mean, std = statistics.mean_and_std(counts)
    assert mean == pytest.approx(254.5 / 255, rel=1e-15)
    assert std == pytest.approx(0.5 / 255, rel=1e-15)
    assert statistics.mean_and_std(np.eye(256, dtype=np.int64)[255]) == (1.0, 0.0)


@pytest.mark.parametrize("size", [64, 1, 1000])  # one batch of everything loses nothing
def test_averaged_std_is_lower_by_the_two_spreads_that_it_loses(size: int, data: mnist.Data) -> None:
    images = data.train_images[:1000]  # the last of 16 batches of 64 has 40 images
    spreads = statistics.averaged_std(images, size)
    _, std = statistics.mean_and_std(np.bincount(images.flatten(), minlength=256))
    batches = (images.double() / 255).split(size)
    stds = [batch.std(correction=0).item() for batch in batches]
    expected = sum(std * len(batch) for std, batch in zip(stds, batches, strict=True)) / len(images)
    assert spreads["averaged_std"] == pytest.approx(expected, rel=1e-9)
    assert (spreads["averaged_std"] < std) == (size < 1000)
    assert math.hypot(*spreads.values()) == pytest.approx(std, rel=1e-12)
