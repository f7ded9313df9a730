"""The largest learning rate that works, by how far the inputs' mean is from zero.

The largest eigenvalue of the Hessian of inputs that are not centred grows with the square of their mean (LeCun, Kanter
and Solla 1990). Gradient descent works up to a rate in inverse proportion to it. So for inputs with a mean of d
standard deviations, the largest rate that works should fall as (1 + d^2)^-1.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, special, stats

from stages.common import tables
from stages.common.tables import Row
from stages.settings.params import Rule

EXPONENT = 1.0  # of the law
ENDS = -4.0, 4.0  # where an exponent is sought


class Largest(NamedTuple):
    """For one seed at one offset: the largest rate at which training learns, and the next one that was tried.

    offset: of the inputs' mean from zero, in standard deviations of the pixels; mean: the one that is subtracted
    works:  0 if no rate does; fails: infinite if the largest rate works
    """

    offset: float
    mean: float
    seed: int
    works: float
    fails: float


def varied(rows: Sequence[Row]) -> set[str]:
    """The parameters, except the seed, that differ between trials: mean and lr in a study of this law."""
    trials = [tables.parameters(row) for row in tables.last_epochs(rows)]
    return {name for trial in trials for name in trial if len({each.get(name) for each in trials}) > 1} - {"seed"}


def largest_rates(rows: Sequence[Row], pixels: Mapping[str, float], threshold: float) -> list[Largest]:
    """In the order of their offset, then of their seed.

    rows: of the table of a study over means and learning rates; pixels: mean and std of the data
    """
    tried: dict[tuple[float, int], list[tuple[float, bool]]] = {}
    for row in tables.last_epochs(rows):
        trial = float(row["lr"]), float(row["accuracy"]) > threshold
        tried.setdefault((float(row["mean"]), int(row["seed"])), []).append(trial)
    found = []
    for (mean, seed), trials in tried.items():
        works = max((rate for rate, learned in trials if learned), default=0.0)
        fails = min((rate for rate, _ in trials if rate > works), default=math.inf)
        found.append(Largest(abs(pixels["mean"] - mean) / pixels["std"], mean, seed, works, fails))
    return sorted(found)


def law(rows: Sequence[Row], pixels: Mapping[str, float], rule: Rule) -> dict[str, Any]:
    """The metrics of a study over means and learning rates.

    offsets:  by mean: it and its `offset`, n (seeds), `all`, the largest rate at which all seeds learn, and `none`, the
              smallest one above which none does; without them where the grid ends before
    exponent: `estimate` of e in rate = rate_at_0 x (1 + offset^2)^-e, its interval, and whether that `holds` the law's;
              without it where fewer than two offsets have a largest rate within the grid
    n:        largest rates, one for each seed and offset; censored: those of them beyond the ends of the grid
    """
    largest, offsets = largest_rates(rows, pixels, rule.threshold), {}
    for mean in dict.fromkeys(each.mean for each in largest):
        here = [each for each in largest if each.mean == mean]
        rates = {"all": min(each.works for each in here), "none": max(each.fails for each in here)}
        inside = {name: rate for name, rate in rates.items() if 0 < rate < math.inf}
        offsets[str(mean)] = {"mean": mean, "offset": here[0].offset, "n": len(here)} | inside
    censored = sum(each.works == 0 or math.isinf(each.fails) for each in largest)
    return {"offsets": offsets, "n": len(largest), "censored": censored} | fit(largest, rule.confidence)


def fit(largest: Sequence[Largest], confidence: float) -> dict[str, Any]:
    """`exponent` and `rate_at_0`, by maximum likelihood: logarithms of rates spread normally around the line, and each
    is known to lie between the one that works and the next one. The interval is that of the likelihood ratio; its ends
    are None where nothing bounds them.

    The spread is at least that which the steps of the grid round away: without that floor, rates that happen to lie on
    a line would leave no spread.
    """
    x = np.log1p([each.offset**2 for each in largest])
    with np.errstate(divide="ignore"):
        low, high = np.log([each.works for each in largest]), np.log([each.fails for each in largest])
    inside = np.isfinite(low) & np.isfinite(high)
    if len(set(x[inside].tolist())) < 2:
        return {}
    middle, least = (low[inside] + high[inside]) / 2, np.mean(high[inside] - low[inside]) / math.sqrt(12)

    def loss(free: np.ndarray, exponent: float) -> float:
        line, spread = free[0] - exponent * x, least + abs(free[1])
        within = special.ndtr((high - line) / spread) - special.ndtr((low - line) / spread)
        return -float(np.log(np.maximum(within, 1e-300)).sum())

    def best(exponent: float) -> optimize.OptimizeResult:
        start = np.mean(middle + exponent * x[inside]), np.std(middle + exponent * x[inside])
        return optimize.minimize(loss, start, (exponent,), method="Nelder-Mead")

    estimate = float(optimize.minimize_scalar(lambda exponent: best(exponent).fun, bounds=ENDS, method="bounded").x)
    most = best(estimate).fun + stats.chi2.ppf(confidence, 1) / 2

    def end(bound: float) -> float | None:
        return optimize.brentq(lambda e: best(e).fun - most, bound, estimate) if best(bound).fun > most else None

    low_end, high_end = map(end, ENDS)
    interval = {"low": low_end, "high": high_end}
    holds = (low_end is None or low_end <= EXPONENT) and (high_end is None or high_end >= EXPONENT)
    exponent = {"estimate": estimate, "interval": interval, "holds": holds}
    return {"exponent": exponent, "rate_at_0": math.exp(best(estimate).x[0])}
