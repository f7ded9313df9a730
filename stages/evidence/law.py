"""Up to which learning rate training works, by how far the inputs lie from zero.

The largest eigenvalue of the Hessian of inputs that are not centred grows with the square of their mean (LeCun, Kanter
and Solla 1990), and gradient descent works up to a rate in inverse proportion to it: for inputs with a mean of d
standard deviations, up to a rate in proportion to 1 / (1 + d^2).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from stages.common import tables
from stages.common.tables import Row
from stages.evidence.paired import interval


class Largest(NamedTuple):
    """The largest learning rate that works: between `works`, the largest at which and below which all trials learn, and
    `fails`, the next one that was tried."""

    offset: float  # of the inputs' mean from zero, in their standard deviations
    seed: int
    works: float
    fails: float


def largest_rates(rows: Sequence[Row], pixels: Mapping[str, float], threshold: float) -> list[Largest]:
    """One for each offset and seed; none where all rates work, or none does.

    rows:   of the table of a study over means and learning rates
    pixels: mean and std of the data
    """
    tried: dict[tuple[float, int], list[tuple[float, bool]]] = {}
    for row in tables.last_epochs(rows):
        offset = abs(pixels["mean"] - float(row["mean"])) / pixels["std"]
        learned = float(row["accuracy"]) > threshold
        tried.setdefault((round(offset, 6), int(row["seed"])), []).append((float(row["lr"]), learned))
    found = []
    for (offset, seed), trials in tried.items():
        rates, learned = zip(*sorted(trials), strict=True)
        first_failure = learned.index(False) if False in learned else len(rates)
        if 0 < first_failure < len(rates):
            found.append(Largest(offset, seed, rates[first_failure - 1], rates[first_failure]))
    return found


def law(largest: Sequence[Largest], confidence: float) -> dict[str, Any] | None:
    """The exponent e of rate = constant x (1 + offset^2)^-e, by least squares of logarithms for each seed.

    The rate is taken as the geometric mean of the one that works and the one that fails. The interval is over seeds.
    None where fewer than two seeds have two offsets.
    """
    exponents, constants = [], []
    for seed in sorted({each.seed for each in largest}):
        of_seed = [each for each in largest if each.seed == seed]
        x = np.log1p([each.offset**2 for each in of_seed])
        if len(of_seed) > 1 and np.ptp(x) > 0:
            slope, start = np.polyfit(x, np.log([math.sqrt(each.works * each.fails) for each in of_seed]), 1)
            exponents.append(-slope)
            constants.append(start)
    if len(exponents) < 2:
        return None
    low, high = interval(np.array(exponents), confidence)
    exponent = {"mean": float(np.mean(exponents)), "interval": {"low": float(low), "high": float(high)}}
    return {"exponent": exponent, "rate_at_0": math.exp(float(np.mean(constants))), "seeds": len(exponents)}
