"""Points compared over seeds: does one differ from the reference, and by more than the margin?"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

YES, NO, OPEN = "yes", "no", "open"


def compare(
    values: np.ndarray, reference: np.ndarray, confidence: float, margin: float = math.nan, step: float = 0.0
) -> dict[str, Any]:
    """The differences of one outcome from those of a reference under the same seeds, and the p of three tests.

    differs: the paired t-test, that the mean difference is 0
    within:  two one-sided paired t-tests (TOST; Schuirmann 1987), that it is `margin` or more on either side
    beyond:  the same the other way round, that it is `margin` or less on both sides; the smaller p of two, doubled

    Seeds are repeated, test images are not: all of this is about the mean over seeds on these test images.

    values:    float array (n,); element i has the seed of `reference`'s element i
    reference: float array (n,)
    margin:    above 0, in the unit of the outcome; without it, only `differs` is tested
    step:      the outcome's resolution, such as 1 / (number of test images) of an accuracy
    returns:   n; mean, std and interval of the differences; p by test. None where a single pair leaves it undefined
    """
    # Accuracies are counts of at most 10,000 images: rounding removes only what the subtraction of floats adds.
    differences = np.round(values - reference, 9)
    n, p = len(differences), p_values(differences, margin, step)
    return {
        "n": n,
        "mean": float(differences.mean()),
        "std": float(differences.std(ddof=1)) if n > 1 else None,
        "interval": ends(differences, confidence, step),
        "p": {test: float(value) if n > 1 else None for test, value in p.items()},
        "confidence": confidence,
        **({"margin": margin} if margin > 0 else {}),
    }


def interval(differences: np.ndarray, confidence: float, step: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Student's interval of the mean along the last axis; nan for a single one."""
    degrees = differences.shape[-1] - 1
    return stats.t.interval(confidence, degrees, differences.mean(axis=-1), standard_error(differences, step))


def ends(differences: np.ndarray, confidence: float, step: float) -> dict[str, float] | None:
    low, high = interval(differences, confidence, step)
    return {"low": float(low), "high": float(high)} if len(differences) > 1 else None


def relative_error(accuracy: np.ndarray, reference: np.ndarray, confidence: float, step: float) -> dict[str, Any]:
    """By which fraction the mean error is above the reference's, and the interval of that fraction by the delta method.

    accuracy, reference: as `values` and `reference` of `compare`; returns: nothing where the reference makes no error
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
    """Those of the tests of `compare` along the last axis; nan for a single difference."""
    mean, error = np.abs(differences.mean(axis=-1)), standard_error(differences, step)
    student = stats.t(differences.shape[-1] - 1)
    differs = {"differs": 2 * student.sf(mean / error)}
    if not margin > 0:
        return differs
    near, far = (mean - margin) / error, (mean + margin) / error  # distances from the two ends of the margin
    within = np.maximum(student.cdf(near), student.sf(far))
    return differs | {"within": within, "beyond": np.minimum(1, 2 * student.sf(near))}


def answers(compared: Mapping[str, dict[str, Any]], confidence: float, planned: int) -> dict[str, dict[str, Any]]:
    """What `compare` gave for each of the planned comparisons of one reference, with two answers to each.

    differs: yes, no (no difference was found), or open (one pair)
    exceeds: the difference is beyond the margin (yes), within it (no), or neither is shown (open)

    The p of each test are corrected for the number of planned comparisons (Holm 1979), also of those that could not be
    made: with probability `confidence`, none of the answers of a kind is wrong.
    """
    answered = {name: each | {"p_holm": dict(each["p"])} for name, each in compared.items()}
    pairs = [each for each in answered.values() if each["n"] > 1]
    for test in pairs[0]["p"] if pairs else ():
        for each, p in zip(pairs, holm([each["p"][test] for each in pairs], planned), strict=True):
            each["p_holm"][test] = float(p)
    for each in answered.values():
        shown = {test: p is not None and p < 1 - confidence for test, p in each["p_holm"].items()}
        each["differs"] = YES if shown["differs"] else NO if each["n"] > 1 else OPEN
        if "margin" in each:
            each["exceeds"] = YES if shown["beyond"] else NO if shown["within"] else OPEN
    return answered


def holm(p: Sequence[float] | np.ndarray, planned: int) -> np.ndarray:
    """Holm's corrected p along the last axis, in their order: of a family of `planned` tests, the others' p being 1."""
    p = np.asarray(p, float)
    order = np.argsort(p, axis=-1)
    factors = planned - np.arange(p.shape[-1])
    stepped = np.maximum.accumulate(np.take_along_axis(p, order, axis=-1) * factors, axis=-1)
    return np.take_along_axis(np.minimum(stepped, 1), np.argsort(order, axis=-1), axis=-1)
