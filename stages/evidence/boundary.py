"""The boundary between trials that learn and trials that die: quantities, thresholds, errors on unseen trials."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, RepeatedStratifiedKFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import resample

from stages.settings.params import Interval, LenetSpace, Region

REPEATS = 10  # cross-validations with other folds, averaged: one alone depends on the luck of its folds
BOOTSTRAPS = 1000
SEEDS = 2**32  # those that scikit-learn knows
CELLS = (1000, 100)  # of the plane, along mean and std: areas are right to 0.001
REGULARIZATION = 100.0  # scikit-learn's C: holds the weights finite where the trials are separated perfectly
LIMIT = 3.0  # of fitted exponents and logarithms of factors: an interval that ends here is open
ADJUSTED = "adjusted_offset"


class Pixels(NamedTuple):
    """Mean and standard deviation of all pixels, in the unit of pixel / 255."""

    mean: float
    std: float


def quantities(points: np.ndarray, pixels: Pixels) -> dict[str, np.ndarray]:
    """The quantities that may decide whether a trial learns, in terms of the normalized pixels.

    Pixels of mean mu and standard deviation sigma have mean m' = (mu - mean) / std and standard deviation
    s' = sigma / std after normalization. Large values of a quantity are supposed to kill.

    points:  float array (n, 2), mean and std of the normalizations
    returns: float arrays (n, columns), logarithms
        relative_offset   |m'| / s' = |mu - mean| / sigma, the offset in units of the contrast: std is not in it
        offset            |m'|
        contrast          s'
        root_mean_square  sqrt(m'^2 + s'^2)
        largest_input     the largest absolute value that a pixel, 0 or 1 before, can take
        adjusted_offset   relative_offset * (1 / s')^a, and * b where mean > mu; a and b fitted: do std and side matter?
    """
    mean, std = points.T
    shifted, scaled = (pixels.mean - mean) / std, pixels.std / std
    relative = np.abs(pixels.mean - mean) / pixels.std
    single = {
        "relative_offset": relative,
        "offset": np.abs(shifted),
        "contrast": scaled,
        "root_mean_square": np.hypot(shifted, scaled),
        "largest_input": np.maximum(np.abs(mean), np.abs(1 - mean)) / std,
    }
    columns = {name: _log(values)[:, None] for name, values in single.items()}
    return columns | {ADJUSTED: np.column_stack([_log(relative), -_log(scaled), mean > pixels.mean])}


class Boundary(ClassifierMixin, BaseEstimator):
    """The rule that a trial dies where a quantity of its normalization is above a threshold: a classifier.

    Several columns are weighed by logistic regression, in units of the first weight. The threshold lies in the middle
    between two neighbouring trials, where the rule has the fewest errors; of several such gaps, in the middle one.

    Attributes after `fit(points, dead)`, dead a bool array (n,) with some of each kind:
        weights_:   float array (columns,), of the logarithms
        threshold_: of their weighted sum
    """

    def __init__(self, pixels: Pixels, quantity: str = "relative_offset"):
        self.pixels = pixels
        self.quantity = quantity

    def fit(self, points: np.ndarray, dead: np.ndarray) -> "Boundary":
        columns = self.columns(points)
        self.classes_ = np.array([False, True])
        self.weights_ = np.ones(1) if columns.shape[1] == 1 else _weights(columns, dead)
        self.threshold_ = fewest_errors(columns @ self.weights_, dead)
        return self

    def columns(self, points: np.ndarray) -> np.ndarray:
        return quantities(points, self.pixels)[self.quantity]

    def scores(self, points: np.ndarray) -> np.ndarray:
        """The logarithm of the quantity: float array (n,)."""
        return self.columns(points) @ self.weights_

    def decision_function(self, points: np.ndarray) -> np.ndarray:
        return self.scores(points) - self.threshold_

    def predict(self, points: np.ndarray) -> np.ndarray:
        """Whether trials die: bool array (n,)."""
        return self.decision_function(points) > 0


def separate(points: np.ndarray, dead: np.ndarray, pixels: Pixels, region: Region) -> dict[str, Any]:
    """The separating power of each quantity, and which one is chosen; None where there are too few trials of a kind.

    The trials are where the sampler put them, most of them where it expected good ones: the errors hold for trials
    like these, and are no shares of the plane. AUC and training error of a quantity are of the trials that it was
    fitted to; nested_error is of trials that had no part in anything, the choice of the quantity included.
    """
    rarer, names = int(min(dead.sum(), (~dead).sum())), list(quantities(points, pixels))
    figures = {name: dict.fromkeys(("auc", "threshold", "training_error", "cross_validated_error")) for name in names}
    separating: dict[str, Any] = {"quantity": None, "nested_error": None}
    if rarer > 0:
        for name in names:
            figures[name] |= _fitted(Boundary(pixels, name).fit(points, dead), points, dead)
    if rarer > 1:
        figures[ADJUSTED] |= _adjustment(points, dead, pixels, region.seed)
        choice = _choice(pixels, len(dead), rarer, region, REPEATS).fit(points, dead)
        for name, accuracy in zip(names, choice.cv_results_["mean_test_accuracy"], strict=True):
            figures[name]["cross_validated_error"] = 1 - accuracy
        separating["quantity"] = choice.best_params_["quantity"]
    if rarer > 3:  # so that there are folds within folds
        folds = min(region.folds, rarer)
        outer = StratifiedKFold(folds, shuffle=True, random_state=region.seed % SEEDS)
        left, left_rarer = (count - math.ceil(count / folds) for count in (len(dead), rarer))
        choice = _choice(pixels, left, left_rarer, region, repeats=1)
        accuracies = cross_val_score(choice, points, dead, cv=outer, scoring="accuracy", error_score="raise")
        separating["nested_error"] = 1 - accuracies.mean()
    return {"quantities": figures, "separating": separating}


def extent(boundary: Boundary, points: np.ndarray, dead: np.ndarray, cells: np.ndarray, seed: int) -> dict[str, Any]:
    """The reach of the safe region, as a value of the quantity and as a share of the plane's area.

    boundary: fitted to the trials at `points`, some of which are `dead`
    cells:    float array (cells, 2), mean and std at points spread evenly over the plane
    returns:  threshold and area, the share of the plane that the rule lets learn, with 95% intervals (bootstrap over
              trials, the quantity as chosen); and the band of doubt, which ends at trials: at `low` and below every
              trial learned, at `high` and above every one died, `trials` are in between
    """
    columns, scores = boundary.columns(cells), boundary.scores(points)
    drawn = bootstrap(boundary, points, dead, seed)
    of_cells = columns @ boundary.weights_
    # The threshold has the fewest errors, so it is never beyond the first trials that leave no doubt.
    low = scores[scores < scores[dead].min()].max(initial=-np.inf)
    high = scores[scores > scores[~dead].max()].min(initial=np.inf)
    low, high = max(low, scores.min()), min(high, scores.max())
    areas = [(columns @ rule.weights_ <= rule.threshold_).mean() for rule in drawn]
    return {
        "threshold": interval(np.exp(boundary.threshold_), np.exp([rule.threshold_ for rule in drawn])),
        "area": interval((of_cells <= boundary.threshold_).mean(), areas),
        "band": {
            "low": np.exp(low),
            "high": np.exp(high),
            "area_low": (of_cells <= low).mean(),
            "area_high": (of_cells < high).mean(),
            "trials": int(((scores > low) & (scores < high)).sum()),
        },
    }


def bootstrap(boundary: Boundary, points: np.ndarray, dead: np.ndarray, seed: int) -> list[Boundary]:
    """Rules fitted to trials drawn with replacement, as many of each kind as there are."""
    random = np.random.RandomState(seed % SEEDS)
    draws = (resample(points, dead, stratify=dead, random_state=random) for _ in range(BOOTSTRAPS))
    return [Boundary(boundary.pixels, boundary.quantity).fit(*draw) for draw in draws]


def plane(space: LenetSpace) -> np.ndarray:
    """Mean and std at the middle of cells of equal area, linear or logarithmic as the search is: array (*CELLS, 2)."""
    means, stds = map(_middles, (space.mean, space.std), CELLS)
    return np.stack(np.meshgrid(means, stds, indexing="ij"), axis=-1)


def interval(value: float, drawn: Any) -> dict[str, float]:
    """A value with the interval that holds 95% of its bootstrap."""
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"value": float(value), "low": float(low), "high": float(high)}


def fewest_errors(scores: np.ndarray, dead: np.ndarray) -> float:
    """The threshold above which trials are best said to die."""
    order = np.argsort(scores, kind="stable")
    scores, dead = scores[order], dead[order]
    wrong = np.cumsum(dead) + (~dead).sum() - np.cumsum(~dead)  # dead up to here, learned after
    gaps = np.flatnonzero(np.diff(scores))
    if not len(gaps):
        return float(scores[0])
    gaps = gaps[wrong[gaps] == wrong[gaps].min()]
    gap = gaps[len(gaps) // 2]
    return float(scores[gap : gap + 2].mean())


def _weights(columns: np.ndarray, dead: np.ndarray) -> np.ndarray:
    """Those of a logistic regression, as multiples of the first."""
    logistic = LogisticRegression(C=REGULARIZATION, solver="newton-cholesky")
    scaler, logistic = make_pipeline(StandardScaler(), logistic).fit(columns, dead)
    weights = logistic.coef_[0] / scaler.scale_
    # Where the first quantity does not kill, nothing can be adjusted in its units; where it hardly does, not by much.
    return np.append(1, np.clip(weights[1:] / weights[0], -LIMIT, LIMIT)) if weights[0] > 0 else np.eye(len(weights))[0]


def _fitted(boundary: Boundary, points: np.ndarray, dead: np.ndarray) -> dict[str, float]:
    return {
        "auc": roc_auc_score(dead, boundary.scores(points)),
        "threshold": float(np.exp(boundary.threshold_)),
        "training_error": float((boundary.predict(points) != dead).mean()),
    }


def _adjustment(points: np.ndarray, dead: np.ndarray, pixels: Pixels, seed: int) -> dict[str, dict[str, float]]:
    """The exponent of std and the factor of the side, with their intervals."""
    boundary = Boundary(pixels, ADJUSTED).fit(points, dead)
    weights = np.array([rule.weights_ for rule in bootstrap(boundary, points, dead, seed)])
    _, exponent, side = boundary.weights_
    return {
        "std_exponent": interval(exponent, weights[:, 1]),
        "side_factor": interval(np.exp(side), np.exp(weights[:, 2])),
    }


def _choice(pixels: Pixels, trials: int, rarer: int, region: Region, repeats: int) -> GridSearchCV:
    """A classifier that chooses its quantity by cross-validation: of `trials`, `rarer` of the rarer kind."""
    return GridSearchCV(
        Boundary(pixels),
        {"quantity": list(quantities(np.ones((1, 2)), pixels))},
        scoring={"accuracy": "accuracy", "auc": "roc_auc"},
        cv=RepeatedStratifiedKFold(
            n_splits=min(region.folds, rarer), n_repeats=repeats, random_state=region.seed % SEEDS
        ),
        refit=partial(_lowest_error, trials=trials),
        error_score="raise",
    )


def _lowest_error(results: Mapping[str, Any], trials: int) -> int:
    """The quantity with the lowest cross-validated error; of several, with the largest AUC, then by name.

    The adjusted one, which has two numbers more to adapt, must be better by more than one standard error.
    """
    names = [each["quantity"] for each in results["params"]]
    errors, aucs = 1 - results["mean_test_accuracy"].round(9), results["mean_test_auc"]
    adjusted = names.index(ADJUSTED)
    best = min(set(range(len(names))) - {adjusted}, key=lambda index: (errors[index], -aucs[index], names[index]))
    standard_error = math.sqrt(errors[best] * (1 - errors[best]) / trials)
    return adjusted if errors[adjusted] < errors[best] - standard_error else best


def _middles(axis: Interval, count: int) -> np.ndarray:
    part = (np.arange(count) + 0.5) / count
    return axis.low * (axis.high / axis.low) ** part if axis.log else axis.low + (axis.high - axis.low) * part


def _log(values: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(values, 1e-12))  # a mean of exactly mu has no offset
