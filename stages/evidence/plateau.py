"""The trials of the sweep: which learned, which are as accurate as the standard, whether the best is more than luck."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from stages.evidence.boundary import Pixels
from stages.evidence.tables import Row, numbers, spread
from stages.settings.params import Region

SIMULATIONS = 20_000  # of the best by luck alone


class Trials(NamedTuple):
    """Arrays with an element for each of n trials."""

    number: np.ndarray  # int
    points: np.ndarray  # float (n, 2), mean and std
    accuracy: np.ndarray  # float, fractions in [0, 1]
    dead: np.ndarray  # bool, those that have not learned
    silent: dict[str, np.ndarray]  # float, shares of silent units, by layer, before and after the training

    @classmethod
    def of(cls, rows: Sequence[Row], threshold: float) -> "Trials":
        """rows: of the sweep's table; trials have learned whose accuracy is above the threshold"""
        number, mean, std, accuracy = (numbers(rows, column) for column in ("number", "mean", "std", "accuracy"))
        silent = {column: numbers(rows, column) for column in rows[0] if "_silent_" in column}
        return cls(number.astype(int), np.column_stack([mean, std]), accuracy, ~(accuracy > threshold), silent)

    def places(self, pixels: Pixels) -> dict[str, np.ndarray]:
        """Mean and std of the normalizations, and of the pixels that they normalize."""
        mean, std = self.points.T
        return {"mean": mean, "std": std, "input_mean": (pixels.mean - mean) / std, "input_std": pixels.std / std}


class OverSeeds(NamedTuple):
    """Accuracy of n trials that differ in their seed alone; std with ddof 1, None for a single one."""

    mean: float
    std: float | None
    n: int


def describe(trials: Trials, pixels: Pixels, standard: OverSeeds, region: Region) -> dict[str, Any]:
    """How many trials learned, the plateau, the best of them, and what is silent: medians of each kind."""
    on_plateau = ~trials.dead & (trials.accuracy >= standard.mean - region.plateau)
    best = int(trials.accuracy.argmax())
    mean, std = trials.points[best]
    accuracy = trials.accuracy[best]
    luck = best_by_luck(accuracy, standard, int(on_plateau.sum()), region.seed)
    return {
        "trials": len(trials.dead),
        "learned": int((~trials.dead).sum()),
        "dead": int(trials.dead.sum()),
        "plateau": plateau(trials, pixels, on_plateau),
        "best": {"number": int(trials.number[best]), "mean": mean, "std": std, "accuracy": accuracy} | luck,
        "silent": {
            kind: {name: np.median(shares[which]) if which.any() else None for name, shares in trials.silent.items()}
            for kind, which in (("learned", ~trials.dead), ("died", trials.dead))
        },
    }


def plateau(trials: Trials, pixels: Pixels, on: np.ndarray) -> dict[str, Any]:
    """The trials about as accurate as the standard normalization: how many, how much they differ, where they lie.

    Where the plateau ends is measured from the standard's mean over seeds, not from the best trial, which is the best
    partly by luck. Its lower end is cut off by definition, so the spread says little about that of a single trial.

    on: bool array (n,), the trials on the plateau
    """
    columns = {"accuracy": trials.accuracy} | trials.places(pixels)
    metrics: dict[str, Any] = {name: spread(values[on]) if on.any() else None for name, values in columns.items()}
    if on.any():
        accuracy = trials.accuracy[on]
        metrics["accuracy"]["iqr"] = np.ptp(np.quantile(accuracy, [0.25, 0.75]))
        metrics["accuracy"]["std"] = accuracy.std(ddof=1) if len(accuracy) > 1 else None
    return metrics | {"trials": int(on.sum())}


def best_by_luck(best: float, standard: OverSeeds, equals: int, seed: int) -> dict[str, Any]:
    """The best accuracy of many trials, and whether luck alone would explain it.

    The best of many trials lies above their mean even if all are equally good. `by_luck` says how far: mean and spread
    are estimated from as many draws of one normal distribution as there were seeds of the standard, and the largest of
    `equals` further draws is measured against them; median and 95% quantile of simulations, and the share of them that
    reach the best trial or more.

    equals:  trials on the plateau: as if these, and no others, were as good as the standard
    returns: above_standard and by_luck in units of the standard's seed-to-seed standard deviation
    """
    if not standard.std:
        return {"above_standard": None, "by_luck": None}
    above_standard = (best - standard.mean) / standard.std
    if not equals:
        return {"above_standard": above_standard, "by_luck": None}
    random = np.random.default_rng(seed)
    seeds = random.normal(size=(SIMULATIONS, standard.n))
    largest = np.max([random.normal(size=SIMULATIONS) for _ in range(equals)], axis=0)
    above = (largest - seeds.mean(axis=1)) / seeds.std(axis=1, ddof=1)
    by_luck = {"median": np.median(above), "high": np.quantile(above, 0.95), "share": (above >= above_standard).mean()}
    return {"above_standard": above_standard, "by_luck": by_luck}
