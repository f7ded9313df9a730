"""The largest learning rate that works, by how far the inputs' mean is from zero.

The largest eigenvalue of the Hessian of inputs that are not centred grows with the square of their mean (LeCun, Kanter
and Solla 1990). Gradient descent works up to a rate in inverse proportion to it. So for inputs with a mean of d
standard deviations, the largest rate that works should fall as (1 + d^2)^-1.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from stages.common import tables
from stages.settings.params import Rule

EXPONENT = 1.0  # of the law
ENDS = -4.0, 4.0  # where an exponent is sought


def varied(table: pd.DataFrame) -> set[str]:
    """The parameters, except the seed, that differ between trials: mean and lr in a study of this law."""
    trials = pd.DataFrame(tables.parameters(table))
    return {str(name) for name in trials if trials[name].nunique(dropna=False) > 1} - {"seed"}


def largest_rates(table: pd.DataFrame, pixels: Mapping[str, float], threshold: float) -> pd.DataFrame:
    """For each `mean` and `seed`, in the order of their offset, then of their seed:

    offset: of the inputs' mean from zero, in standard deviations of the pixels
    works:  the largest rate at which training learns, 0 if none does
    fails:  the next one that was tried, infinite if the largest rate works

    table: of a study over means and learning rates; pixels: mean and std of the data
    """
    trials = tables.last_epochs(table)[["mean", "seed", "lr", "accuracy"]].astype(float)
    trials["offset"] = (pixels["mean"] - trials["mean"]).abs() / pixels["std"]
    trials["works"] = trials["lr"].where(trials["accuracy"] > threshold, 0.0)
    trials["works"] = trials.groupby(["mean", "seed"])["works"].transform("max")
    trials["fails"] = trials["lr"].where(trials["lr"] > trials["works"], math.inf)
    rates = {"works": "max", "fails": "min"}
    return trials.groupby(["offset", "mean", "seed"], as_index=False).agg(rates)


def law(table: pd.DataFrame, pixels: Mapping[str, float], rule: Rule) -> dict[str, Any]:
    """The metrics of a study over means and learning rates.

    offsets:  by mean: it and its `offset`, n (seeds), `all`, the largest rate at which all seeds learn, and `none`, the
              smallest one above which none does; without them where the grid ends before
    exponent: `estimate` of e in rate = rate_at_0 x (1 + offset^2)^-e, its interval, and whether that `holds` the law's;
              without it where fewer than two offsets have a largest rate within the grid
    n:        largest rates, one for each seed and offset; censored: those of them beyond the ends of the grid
    """
    largest, offsets = largest_rates(table, pixels, rule.threshold), {}
    for mean, of_seeds in largest.groupby("mean", sort=False):
        rates = {"all": of_seeds["works"].min(), "none": of_seeds["fails"].max()}
        inside = {name: rate for name, rate in rates.items() if 0 < rate < math.inf}
        offsets[str(mean)] = {"mean": mean, "offset": of_seeds["offset"].iloc[0], "n": len(of_seeds)} | inside
    censored = int(((largest["works"] == 0) | np.isinf(largest["fails"])).sum())
    return {"offsets": offsets, "n": len(largest), "censored": censored} | fit(largest, rule.confidence)


def fit(largest: pd.DataFrame, confidence: float) -> dict[str, Any]:
    """`exponent` and `rate_at_0`, by maximum likelihood: logarithms of rates spread normally around the line, and each
    is known to lie between the one that works and the next one. The interval is that of the likelihood ratio; its ends
    are None where nothing bounds them.

    The spread is at least that which the steps of the grid round away: without that floor, rates that happen to lie on
    a line would leave no spread.
    """
    x = np.log1p(largest["offset"].to_numpy() ** 2)
    with np.errstate(divide="ignore"):
        low, high = np.log(largest[["works", "fails"]].to_numpy().T)
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
    holds = (low_end is None or low_end <= EXPONENT) and (high_end is None or high_end >= EXPONENT)
    exponent = {"estimate": estimate, "interval": {"low": low_end, "high": high_end}, "holds": holds}
    return {"exponent": exponent, "rate_at_0": math.exp(best(estimate).x[0])}
