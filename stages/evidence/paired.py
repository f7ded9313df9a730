"""Compares points over seeds: does one differ from the reference, and by more than the margin?"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

YES, NO, OPEN = "yes", "no", "open"
TESTS = "differs", "within", "beyond"  # see `p_values`


def compare(
    pairs: Mapping[str, Sequence[np.ndarray]], confidence: float, planned: int, margin: float, step: float = 0.0
) -> dict[str, dict[str, Any]]:
    """The differences of accuracies from the reference's, over the same seeds.

    pairs:   by name, the values and the reference's, float arrays (n,); element i of both has the same seed
    planned: comparisons that the p are corrected for (Holm 1979), even if some could not be made
    margin:  above 0
    step:    their resolution, 1 / (number of test images)
    returns: by name: n; mean, std, interval of the differences; relative_error; p, p_holm by test
             differs: yes, no (none found), or open (a single pair: std and interval are None, p is nan)
             exceeds: beyond the margin (yes), within it (no), or neither is shown (open)
    """
    compared: dict[str, dict[str, Any]] = {}
    for name, (values, reference) in pairs.items():
        # Removes only errors of the subtraction: accuracies are multiples of 1 / images.
        differences = np.round(values - reference, 9)
        p = p_values(differences, margin, step)
        compared[name] = {
            "n": len(differences),
            "mean": differences.mean(),
            "std": differences.std(ddof=1) if len(differences) > 1 else None,
            "interval": ends(differences, confidence, step),
            "confidence": confidence,
            "margin": margin,
            "p": p,
        } | relative_error(values, reference, confidence, step)
    by_test = [[each["p"][test] for each in compared.values()] for test in TESTS]
    for each, corrected in zip(compared.values(), holm(by_test, planned).T, strict=True):
        each["p_holm"] = dict(zip(TESTS, corrected, strict=True))
        shown = {test: p < 1 - confidence for test, p in each["p_holm"].items()}
        each["differs"] = YES if shown["differs"] else NO if each["n"] > 1 else OPEN
        each["exceeds"] = YES if shown["beyond"] else NO if shown["within"] else OPEN
    return compared


def interval(differences: np.ndarray, confidence: float, step: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Student's interval of the mean along the last axis; nan for a single difference."""
    degrees = differences.shape[-1] - 1
    return stats.t.interval(confidence, degrees, differences.mean(axis=-1), standard_error(differences, step))


def ends(differences: np.ndarray, confidence: float, step: float) -> dict[str, float] | None:
    low, high = interval(differences, confidence, step)
    return {"low": float(low), "high": float(high)} if len(differences) > 1 else None


def relative_error(accuracy: np.ndarray, reference: np.ndarray, confidence: float, step: float) -> dict[str, Any]:
    """The relative increase in the mean error, with its interval; nothing if the reference makes no errors."""
    if not (errors := 1 - reference.mean()) > 0:
        return {}
    relative = relative_errors(1 - accuracy, 1 - reference)
    return {"relative_error": {"mean": float(relative.mean()), "interval": ends(relative, confidence, step / errors)}}


def relative_errors(errors: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """A value for each pair along the last axis; their mean is the ratio of the mean errors minus 1.

    By the delta method (linearized in both means), they spread like the ratio, so their `interval` is the ratio's.
    """
    mean = reference.mean(axis=-1, keepdims=True)
    mean = np.where(mean > 0, mean, np.nan)
    ratio = errors.mean(axis=-1, keepdims=True) / mean
    return ratio - 1 + (errors - ratio * reference) / mean


def standard_error(differences: np.ndarray, step: float) -> np.ndarray:
    """The standard error of the mean along the last axis, of differences of multiples of `step`."""
    n = differences.shape[-1]
    # That of two rounded values: else a few differences that happen to be equal would have p = 0.
    least = max(step / math.sqrt(6), 1e-12)
    return np.maximum(differences.std(axis=-1, ddof=min(1, n - 1)), least) / math.sqrt(n)


def p_values(differences: np.ndarray, margin: float, step: float = 0.0) -> dict[str, np.ndarray]:
    """The p of three tests along the last axis; nan for a single difference. Their null hypotheses:

    differs: the mean difference is 0 (paired t-test)
    within:  its size is `margin` or more (TOST: two one-sided paired t-tests; Schuirmann 1987)
    beyond:  its size is `margin` or less (the smaller p of two one-sided paired t-tests, doubled)
    """
    mean, error = np.abs(differences.mean(axis=-1)), standard_error(differences, step)
    student = stats.t(differences.shape[-1] - 1)
    near = (mean - margin) / error  # from the nearer end of the margin, whose p is the larger one for `within`
    return {
        "differs": 2 * student.sf(mean / error),
        "within": student.cdf(near),
        "beyond": np.minimum(1, 2 * student.sf(near)),
    }


def holm(p: ArrayLike, planned: int) -> np.ndarray:
    """Holm's corrected p along the last axis, for a family of `planned` tests, whose other p are 1."""
    p = np.asarray(p, float)
    order = np.argsort(p, axis=-1)  # nan last
    factors = planned - np.arange(p.shape[-1])
    stepped = np.maximum.accumulate(np.take_along_axis(p, order, axis=-1) * factors, axis=-1)
    return np.take_along_axis(np.minimum(stepped, 1), np.argsort(order, axis=-1), axis=-1)
