"""What separates trials that learn from trials that die: candidate quantities, thresholds, errors on unseen trials."""

from typing import NamedTuple

import numpy as np
from scipy import optimize, special, stats

REPEATS = 10  # cross-validations with other folds, averaged: one alone depends on the luck of its folds
RIDGE = 0.01  # holds the fitted weights finite where the trials are separated perfectly
LIMIT = 3.0  # of fitted exponents and logarithms of factors: an interval that ends here is open
FITTED = "adjusted_offset"


class Rule(NamedTuple):
    """A trial dies if `columns @ weights` is above `threshold`: the logarithm of a quantity of it."""

    weights: np.ndarray
    threshold: float


def candidates(mean: np.ndarray, std: np.ndarray, mu: float, sigma: float) -> dict[str, np.ndarray]:
    """What may decide whether a trial learns, in terms of the normalized pixels.

    Pixels of mean mu and standard deviation sigma have mean m' = (mu - mean) / std and standard deviation
    s' = sigma / std after normalization. Large values of a quantity are supposed to kill.

    mean, std: float arrays (n,), the normalizations; mu, sigma: of the pixels in [0, 1]
    returns:   float arrays (n, columns), logarithms
        relative_offset   |m'| / s' = |mu - mean| / sigma, the offset in units of the contrast: std is not in it
        offset            |m'|
        contrast          s'
        root_mean_square  sqrt(m'^2 + s'^2)
        largest_input     the largest absolute value that a pixel, 0 or 1 before, can take
        adjusted_offset   relative_offset * (1 / s')^a, and * b where mean > mu; a and b fitted: do std and side matter?
    """
    shifted, scaled = (mu - mean) / std, sigma / std
    relative = np.abs(mu - mean) / sigma
    single = {
        "relative_offset": relative,
        "offset": np.abs(shifted),
        "contrast": scaled,
        "root_mean_square": np.hypot(shifted, scaled),
        "largest_input": np.maximum(np.abs(mean), np.abs(1 - mean)) / std,
    }
    columns = {name: _log(values)[:, None] for name, values in single.items()}
    return columns | {FITTED: np.column_stack([_log(relative), -_log(scaled), mean > mu])}


def fit(columns: np.ndarray, dead: np.ndarray) -> Rule:
    """The rule with the fewest errors on the trials that it is given, some of which died and some learned.

    Several columns are weighed by logistic regression, in units of the first weight. The threshold lies in the middle
    between two neighbouring trials; of several such gaps with equally few errors, the middle one.
    """
    weights = np.ones(1) if columns.shape[1] == 1 else _logistic(columns, dead)
    scores = columns @ weights
    order = np.argsort(scores, kind="stable")
    wrong = np.cumsum(dead[order]) + (~dead).sum() - np.cumsum(~dead[order])  # dead up to here, learned after
    gaps = np.flatnonzero(wrong[:-1] == wrong[:-1].min())
    gap = gaps[len(gaps) // 2]
    return Rule(weights, float(scores[order[[gap, gap + 1]]].mean()))


def dies(columns: np.ndarray, rule: Rule) -> np.ndarray:
    """bool array (n,): what the rule says of trials."""
    return columns @ rule.weights > rule.threshold


def auc(scores: np.ndarray, dead: np.ndarray) -> float:
    """Share of all pairs (learned, dead) in which the dead trial has the larger score: 0.5 is chance, 1 separates."""
    return float(stats.mannwhitneyu(scores[dead], scores[~dead]).statistic / (dead.sum() * (~dead).sum()))


def cross_validated(columns: np.ndarray, dead: np.ndarray, folds: int, seed: int, repeats: int | None = None) -> float:
    """Share of wrong predictions for trials that had no part in weights and threshold; stratified folds.

    folds: at most as many as the rarer kind has trials are made, which must be 2 or more
    """
    wrong = [
        dies(columns[test], fit(columns[~test], dead[~test])) != dead[test]
        for test in _folds(dead, folds, seed, repeats)
    ]
    return float(np.concatenate(wrong).mean())


def choose(every: dict[str, np.ndarray], dead: np.ndarray, folds: int, seed: int, repeats: int | None = None) -> str:
    """The quantity with the lowest cross-validated error; of several, with the largest AUC, then by name.

    The fitted one, which has two numbers more to adapt, must be better by more than one standard error.
    """
    errors = {name: cross_validated(columns, dead, folds, seed, repeats) for name, columns in every.items()}
    best = min(set(every) - {FITTED}, key=lambda name: (errors[name], -auc(every[name][:, 0], dead), name))
    standard_error = np.sqrt(errors[best] * (1 - errors[best]) / len(dead))
    return FITTED if errors[FITTED] < errors[best] - standard_error else best


def nested_error(every: dict[str, np.ndarray], dead: np.ndarray, folds: int, seed: int) -> float:
    """Cross-validated error of the whole procedure: the quantity, too, is chosen without the trials predicted.

    folds: the rarer kind must have 4 trials or more, so that there are folds within folds
    """
    wrong = []
    for test in _folds(dead, folds, seed, repeats=1):
        name = choose({name: columns[~test] for name, columns in every.items()}, dead[~test], folds, seed, repeats=1)
        wrong.append(dies(every[name][test], fit(every[name][~test], dead[~test])) != dead[test])
    return float(np.concatenate(wrong).mean())


def bootstrap(columns: np.ndarray, dead: np.ndarray, repetitions: int, seed: int) -> list[Rule]:
    """Rules fitted to trials drawn with replacement, as many of each kind as there are."""
    random = np.random.default_rng(seed)
    kinds = np.flatnonzero(dead), np.flatnonzero(~dead)
    draws = (np.concatenate([random.choice(kind, len(kind)) for kind in kinds]) for _ in range(repetitions))
    return [fit(columns[drawn], dead[drawn]) for drawn in draws]


def _folds(dead: np.ndarray, folds: int, seed: int, repeats: int | None) -> list[np.ndarray]:
    """Masks of the trials to predict: each kind is dealt to the folds in random order."""
    random = np.random.default_rng(seed)
    masks = []
    for _ in range(repeats or REPEATS):
        number = np.empty(len(dead), int)
        count = min(folds, dead.sum(), (~dead).sum())
        for kind in (dead, ~dead):
            number[kind] = random.permutation(np.arange(kind.sum()) % count)
        masks += [number == fold for fold in range(count)]
    return masks


def _logistic(columns: np.ndarray, dead: np.ndarray) -> np.ndarray:
    spread = columns.std(axis=0)
    scaled = (columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1)
    inputs = np.column_stack([np.ones(len(scaled)), scaled])

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits, penalized = inputs @ weights, np.append(0, weights[1:])
        value = np.logaddexp(0, logits).sum() - logits[dead].sum() + RIDGE / 2 * penalized @ penalized
        return value, inputs.T @ (special.expit(logits) - dead) + RIDGE * penalized

    weights = optimize.minimize(loss, np.zeros(inputs.shape[1]), jac=True).x[1:] / np.where(spread > 0, spread, 1)
    # Where the first quantity does not kill, nothing can be adjusted in its units; where it hardly does, not by much.
    return np.append(1, np.clip(weights[1:] / weights[0], -LIMIT, LIMIT)) if weights[0] > 0 else np.eye(len(weights))[0]


def _log(values: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(values, 1e-12))  # a mean of exactly mu has no offset
