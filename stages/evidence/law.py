"""The law: how the largest learning rate that works depends on the mean of the inputs.

For a quadratic loss, the largest rate is inversely proportional to the largest eigenvalue of the Hessian, which grows
with the square of the inputs' mean (LeCun, Kanter and Solla 1991): as 1 + d^2, for a mean of d standard deviations.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from stages.common import tables
from stages.settings.params import Rule

EXPONENT = 1.0  # as the law predicts
ENDS = -4.0, 4.0  # the range of the fit


def varied(table: pd.DataFrame) -> set[str]:
    """The parameters, except the seed, that differ between trials: mean and lr in a study of this law."""
    trials = pd.DataFrame(tables.parameters(table))
    return {str(name) for name in trials if trials[name].nunique(dropna=False) > 1} - {"seed"}


def law(table: pd.DataFrame, pixels: Mapping[str, float], rule: Rule) -> dict[str, Any]:
    """The metrics of a study over means and learning rates.

    offsets:  for each mean: `offset`, its distance from the pixels' mean in their standard deviations; n (seeds);
              `all`, the largest rate at which all seeds learn, and `none`, the smallest from which none does, both
              only if they lie within the grid
    n:        the number of largest rates, one for each mean and seed; censored: how many lie beyond the grid
    exponent, rate_at_0: see `fit`
    """
    trials = tables.last_epochs(table)[["mean", "seed", "lr", "accuracy"]].astype(float)
    trials["offset"] = (pixels["mean"] - trials["mean"]).abs() / pixels["std"]
    trials["works"] = trials["lr"].where(trials["accuracy"] > rule.threshold, 0.0)
    trials["works"] = trials.groupby(["mean", "seed"])["works"].transform("max")
    trials["fails"] = trials["lr"].where(trials["lr"] > trials["works"], math.inf)
    largest = trials.groupby(["offset", "mean", "seed"], as_index=False).agg({"works": "max", "fails": "min"})
    offsets = {}
    for mean, of_seeds in largest.groupby("mean", sort=False):
        rates = {"all": of_seeds["works"].min(), "none": of_seeds["fails"].max()}
        inside = {name: rate for name, rate in rates.items() if 0 < rate < math.inf}
        offsets[str(mean)] = {"mean": mean, "offset": of_seeds["offset"].iloc[0], "n": len(of_seeds)} | inside
    censored = int(((largest["works"] == 0) | np.isinf(largest["fails"])).sum())
    return {"offsets": offsets, "n": len(largest), "censored": censored} | fit(largest, rule.confidence)


def fit(largest: pd.DataFrame, confidence: float) -> dict[str, Any]:
    """Fits rate = rate_at_0 x (1 + offset^2)^-exponent, with normally spread log rates, by maximum likelihood.

    largest:  for each mean and seed, its `offset`, the largest rate that `works`, 0 if none does, and the next one,
              which `fails`, infinite beyond the grid; a rate is only known to lie between them
    exponent: `estimate`; `interval`, by the likelihood ratio, with None for an open end; `holds`: it contains the law's
    returns:  both; nothing if fewer than two offsets have a largest rate within the grid
    """
    x = np.log1p(largest["offset"].to_numpy() ** 2)
    with np.errstate(divide="ignore"):
        low, high = np.log(largest[["works", "fails"]].to_numpy().T)
    inside = np.isfinite(low) & np.isfinite(high)
    if len(set(x[inside].tolist())) < 2:
        return {}
    middle = (low[inside] + high[inside]) / 2
    # The least spread is that of the grid's steps: rates that happen to lie on a line would leave none.
    least = np.mean(high[inside] - low[inside]) / math.sqrt(12)

    def loss(free: np.ndarray, exponent: float) -> float:
        line, spread = free[0] - exponent * x, least + abs(free[1])
        within = special.ndtr((high - line) / spread) - special.ndtr((low - line) / spread)
        return -float(np.log(np.maximum(within, 1e-300)).sum())

    def best(exponent: float) -> optimize.OptimizeResult:
        start = np.mean(middle + exponent * x[inside]), np.std(middle + exponent * x[inside])
        return optimize.minimize(loss, start, (exponent,), method="Nelder-Mead")

    found = optimize.minimize_scalar(lambda exponent: best(exponent).fun, bounds=ENDS, method="bounded")
    estimate = float(found.x)
    most = best(estimate).fun + stats.chi2.ppf(confidence, 1) / 2

    def end(bound: float) -> float | None:
        if best(bound).fun <= most:
            return None
        return optimize.brentq(lambda exponent: best(exponent).fun - most, bound, estimate)

    low_end, high_end = map(end, ENDS)
    holds = (low_end is None or low_end <= EXPONENT) and (high_end is None or high_end >= EXPONENT)
    exponent = {"estimate": estimate, "interval": {"low": low_end, "high": high_end}, "holds": holds}
    return {"exponent": exponent, "rate_at_0": math.exp(best(estimate).x[0])}
