"""Points compared over seeds: does one differ from the reference, and by more than the margin?"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

YES, NO, OPEN = "yes", "no", "open"

Pair = tuple[np.ndarray, np.ndarray]


def compare(
    pairs: Mapping[str, Pair], confidence: float, planned: int, margin: float = math.nan, step: float = 0.0
) -> dict[str, dict[str, Any]]:
    """The differences of one outcome from those of a reference under the same seeds, with two answers to each.

    differs: yes, no (no difference was found), or open (one pair)
    exceeds: the difference is beyond the margin (yes), within it (no), or neither is shown (open)

    The p of each test are corrected for the number of planned comparisons (Holm 1979), also of those that could not be
    made: with probability `confidence`, none of the answers of a kind is wrong. Seeds are repeated, test images are
    not: all of this is about the mean over seeds on these test images.

    pairs:   by name, values and those of the reference, float arrays (n,); element i of both has the same seed
    margin:  above 0, of accuracies; without it, only `differs` is answered
    step:    the outcome's resolution, such as 1 / (number of test images) of an accuracy
    returns: also n; mean, std, interval of the differences; `relative_error` of accuracies; p, p_holm by test.
             Of a single pair, std and interval are None, p is nan
    """
    tests = ("differs", "within", "beyond") if margin > 0 else ("differs",)
    compared: dict[str, dict[str, Any]] = {}
    for name, (values, reference) in pairs.items():
        # Accuracies are counts of at most 10,000 images: rounding removes only what the subtraction of floats adds.
        differences = np.round(values - reference, 9)
        p = p_values(differences, margin, step)
        compared[name] = {
            "n": len(differences),
            "mean": differences.mean(),
            "std": differences.std(ddof=1) if len(differences) > 1 else None,
            "interval": ends(differences, confidence, step),
            "confidence": confidence,
            "p": {test: p[test] for test in tests},
            "p_holm": {},
        }
        if margin > 0:
            compared[name] |= {"margin": margin} | relative_error(values, reference, confidence, step)
    for test in tests:
        corrected = holm([each["p"][test] for each in compared.values()], planned)
        for each, p_holm in zip(compared.values(), corrected, strict=True):
            each["p_holm"][test] = p_holm
    for each in compared.values():
        shown = {test: p < 1 - confidence for test, p in each["p_holm"].items()}
        each["differs"] = YES if shown["differs"] else NO if each["n"] > 1 else OPEN
        if margin > 0:
            each["exceeds"] = YES if shown["beyond"] else NO if shown["within"] else OPEN
    return compared


def interval(differences: np.ndarray, confidence: float, step: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Student's interval of the mean along the last axis; nan for a single one."""
    degrees = differences.shape[-1] - 1
    return stats.t.interval(confidence, degrees, differences.mean(axis=-1), standard_error(differences, step))


def ends(differences: np.ndarray, confidence: float, step: float) -> dict[str, float] | None:
    low, high = interval(differences, confidence, step)
    return {"low": float(low), "high": float(high)} if len(differences) > 1 else None


def relative_error(accuracy: np.ndarray, reference: np.ndarray, confidence: float, step: float) -> dict[str, Any]:
    """By which fraction the mean error is above the reference's, and the interval of that fraction by the delta method.

    accuracy, reference: a pair of `compare`; returns: nothing where the reference makes no error
    """
    if not (errors := 1 - reference.mean()) > 0:
        return {}
    relative = relative_errors(1 - accuracy, 1 - reference)
    return {"relative_error": {"mean": float(relative.mean()), "interval": ends(relative, confidence, step / errors)}}


def relative_errors(errors: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """A value for each pair along the last axis, whose mean is the ratio of the mean errors minus 1.

    Their spread is that of the ratio (delta method: its linearization in both means), so `interval` is its interval.
    """
    mean = reference.mean(axis=-1, keepdims=True)
    mean = np.where(mean > 0, mean, np.nan)
    ratio = errors.mean(axis=-1, keepdims=True) / mean
    return ratio - 1 + (errors - ratio * reference) / mean


def standard_error(differences: np.ndarray, step: float) -> np.ndarray:
    """That of the mean along the last axis.

    The spread is at least that which rounding alone makes: the difference of two values, each rounded to a multiple of
    `step`, has a variance of step^2 / 6. Without that floor, a few differences that happen to be equal would have no
    spread, and p = 0.
    """
    n = differences.shape[-1]
    return np.maximum(differences.std(axis=-1, ddof=min(1, n - 1)), max(step / math.sqrt(6), 1e-12)) / math.sqrt(n)


def p_values(differences: np.ndarray, margin: float, step: float = 0.0) -> dict[str, np.ndarray]:
    """The p of three tests along the last axis; nan for a single difference.

    differs: the paired t-test, that the mean difference is 0
    within:  two one-sided paired t-tests (TOST; Schuirmann 1987), that it is `margin` or more on either side
    beyond:  the same the other way round, that it is `margin` or less on both sides; the smaller p of two, doubled
    """
    mean, error = np.abs(differences.mean(axis=-1)), standard_error(differences, step)
    student = stats.t(differences.shape[-1] - 1)
    near = (mean - margin) / error  # from the nearer end of the margin: the other end's p is the smaller one
    return {
        "differs": 2 * student.sf(mean / error),
        "within": student.cdf(near),
        "beyond": np.minimum(1, 2 * student.sf(near)),
    }


def holm(p: Sequence[float] | np.ndarray, planned: int) -> np.ndarray:
    """Holm's corrected p along the last axis, in their order: of a family of `planned` tests, the others' p being 1."""
    p = np.asarray(p, float)
    order = np.argsort(p, axis=-1)  # nan last
    factors = planned - np.arange(p.shape[-1])
    stepped = np.maximum.accumulate(np.take_along_axis(p, order, axis=-1) * factors, axis=-1)
    return np.take_along_axis(np.minimum(stepped, 1), np.argsort(order, axis=-1), axis=-1)
