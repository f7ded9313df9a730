"""Two normalizations compared over seeds: difference, interval, paired test, equivalence test, conclusion by rule."""

import math

import numpy as np
from scipy import stats

EQUIVALENT, DIFFERENT, UNDECIDED = "equivalent within the margin", "different", "undecided at this n"


def compare(accuracies: np.ndarray, reference: np.ndarray, margin: float, confidence: float) -> dict:
    """The difference of accuracies from those of a reference under the same seeds.

    The conclusion follows from two tests at the level 1 - confidence:

    1. "equivalent within the margin" if two one-sided paired t-tests (TOST; Schuirmann 1987) both reject, one that the
       mean difference is -margin or less, the other that it is +margin or more;
    2. else "different" if the paired t-test rejects that it is 0;
    3. else "undecided at this n".

    Equivalence comes first because a difference may be real and yet too small to matter: the margin was set beforehand
    as what matters, and `p_different` still tells such a difference from none. The equivalence test at 95% asks that
    the 90% interval lies within the margin, so `interval` may reach a little over it.

    Nothing is corrected for several comparisons: each is planned, has its own conclusion and is reported whatever it
    says, so the error rates are those of one comparison. Seeds are repeated, test images are not: the interval is for
    the mean over seeds on these test images.

    accuracies: float array (n,), fractions in [0, 1]; element i has the seed of `reference`'s element i
    reference:  float array (n,)
    margin:     fraction, above 0: differences below it do not matter
    confidence: of the interval, between 0 and 1
    returns:    n; mean and std (of the differences, ddof 1); effect (mean / std); interval (low, high) of the mean;
                p_different and p_equivalent; conclusion. None where n or a spread of 0 leaves it undefined.
    raises:     ValueError if lengths differ, nothing is there, or anything is not finite
    """
    if accuracies.shape != reference.shape or accuracies.ndim != 1 or not len(accuracies):
        raise ValueError(f"needs pairs, has {accuracies.shape} and {reference.shape}")
    # Accuracies are counts of at most 10,000 images: rounding removes only what the subtraction of floats adds.
    differences = np.round(accuracies - reference, 9)
    if not np.isfinite(differences).all():
        raise ValueError("accuracies must be finite")
    if not (margin > 0 and 0 < confidence < 1):
        raise ValueError(f"margin ({margin:g}) must be above 0, confidence ({confidence:g}) between 0 and 1")
    n, mean = len(differences), float(differences.mean())
    low, high, different, equivalent = (float(value) for value in _tests(differences, margin, confidence))
    std = float(differences.std(ddof=1)) if n > 1 else None
    return {
        "n": n,
        "mean": mean,
        "std": std,
        "effect": mean / std if std and np.ptp(differences) else None,
        "interval": {"low": low, "high": high} if n > 1 else None,
        "p_different": different if n > 1 else None,
        "p_equivalent": equivalent if n > 1 else None,
        "conclusion": str(_conclusions(np.array(different), np.array(equivalent), confidence)),
    }


def error_rates(n: int, margin: float, confidence: float, spread: float, repetitions: int, seed: int) -> dict:
    """The shares of right and wrong conclusions, by simulation of normally distributed differences.

    n:       pairs, 2 or more
    spread:  standard deviation of the differences, the same unit as the margin
    returns: for true mean differences of 0, 0.5, 1 and 2 margins (the keys) the share of the repetitions with each
             conclusion, that in which the paired test rejects, and that in which the interval covers the true
             difference. Wrong are DIFFERENT at 0, and EQUIVALENT at 1 and 2 margins.
    """
    noise = np.random.default_rng(seed).normal(0, spread, (repetitions, n))
    rates = {}
    for multiple in (0, 0.5, 1, 2):
        true = multiple * margin
        low, high, different, equivalent = _tests(true + noise, margin, confidence)
        conclusions = _conclusions(different, equivalent, confidence)
        rates[f"{multiple:g}"] = {
            name: float((conclusions == name).mean()) for name in (EQUIVALENT, DIFFERENT, UNDECIDED)
        } | {
            "rejected": float((different < 1 - confidence).mean()),
            "covered": float(((low <= true) & (true <= high)).mean()),
        }
    return rates


def _tests(differences: np.ndarray, margin: float, confidence: float) -> tuple[np.ndarray, ...]:
    """Interval (low, high), p of the paired test and of the equivalence test, along the last axis; nan for n = 1."""
    if differences.shape[-1] == 1:
        return (np.full(differences.shape[:-1], math.nan),) * 4
    if not np.ptp(differences):
        # No spread, no t: what the tests tend to as the spread goes to 0.
        mean = differences[..., 0]
        return mean, mean, np.where(mean == 0, 1.0, 0.0), np.where(np.abs(mean) < margin, 0.0, 1.0)
    test = stats.ttest_1samp(differences, 0, axis=-1)
    interval = test.confidence_interval(confidence)
    above = stats.ttest_1samp(differences, -margin, axis=-1, alternative="greater").pvalue
    below = stats.ttest_1samp(differences, margin, axis=-1, alternative="less").pvalue
    return interval.low, interval.high, test.pvalue, np.maximum(above, below)


def _conclusions(different: np.ndarray, equivalent: np.ndarray, confidence: float) -> np.ndarray:
    alpha = 1 - confidence  # nan, the p of a single pair, is below nothing: undecided
    return np.where(equivalent < alpha, EQUIVALENT, np.where(different < alpha, DIFFERENT, UNDECIDED))
