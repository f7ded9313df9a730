"""Where training fails: how far the mean may lie from that of the pixels, by std, side and seed."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression

from stages.evidence.paired import answers, compare, interval
from stages.evidence.tables import Row, numbers

NEAR = 2.0  # standard deviations of the pixels: a mean that is not further from theirs is near the data
REGULARIZATION = 100.0  # scikit-learn's C: holds the weights finite where the trials are separated perfectly


class Pixels(NamedTuple):
    """Mean and standard deviation of all pixels, in the unit of pixel / 255."""

    mean: float
    std: float


class Trials(NamedTuple):
    """Arrays with an element for each of n trials."""

    mean: np.ndarray  # float, of the normalization
    std: np.ndarray
    seed: np.ndarray  # int
    accuracy: np.ndarray  # float, fractions in [0, 1]
    dead: np.ndarray  # bool, those that have not learned

    @classmethod
    def of(cls, rows: Sequence[Row], threshold: float) -> "Trials":
        """rows: of a table; trials have learned whose accuracy is above the threshold; one seed where none is told"""
        mean, std, accuracy = (numbers(rows, column) for column in ("mean", "std", "accuracy"))
        seed = np.array([int(row.get("seed", 0)) for row in rows])
        return cls(mean, std, seed, accuracy, ~(accuracy > threshold))

    def part(self, which: np.ndarray) -> "Trials":
        """which: bool array (n,)"""
        return Trials(*(values[which] for values in self))

    def distance(self, pixels: Pixels) -> np.ndarray:
        """Between the mean and that of the pixels, in standard deviations of the pixels."""
        return np.abs(self.mean - pixels.mean) / pixels.std


class Rule(NamedTuple):
    """A trial dies where its distance is above a limit: threshold * (std / std of the pixels) ** std_exponent, times
    the root of side_factor where the mean is below that of the pixels, divided by it where it is above."""

    threshold: float
    std_exponent: float
    side_factor: float

    def limit(self, std: np.ndarray, below: np.ndarray, pixels: Pixels) -> np.ndarray:
        side = np.where(below, 0.5, -0.5)
        return self.threshold * (std / pixels.std) ** self.std_exponent * self.side_factor**side

    def dies(self, trials: Trials, pixels: Pixels) -> np.ndarray:
        return trials.distance(pixels) > self.limit(trials.std, trials.mean < pixels.mean, pixels)

    def means(self, std: np.ndarray, pixels: Pixels) -> tuple[np.ndarray, np.ndarray]:
        """The mean below that of the pixels and the one above at which training fails, for each std."""
        below, above = (self.limit(std, np.full_like(std, side, bool), pixels) for side in (True, False))
        return pixels.mean - below * pixels.std, pixels.mean + above * pixels.std


def fit(trials: Trials, pixels: Pixels) -> Rule | None:
    """The rule where a logistic model of the logarithms of distance and std, and of the side, gives even chances.

    None where no trial died or all of them, or where those that died are not the distant ones.
    """
    if trials.dead.all() or not trials.dead.any():
        return None
    side = np.where(trials.mean < pixels.mean, 0.5, -0.5)
    distance = np.log(np.maximum(trials.distance(pixels), 1e-12))  # a mean of exactly that of the pixels has none
    columns = np.column_stack([distance, np.log(trials.std / pixels.std), side])
    model = LogisticRegression(C=REGULARIZATION, solver="newton-cholesky").fit(columns, trials.dead)
    slope, of_std, of_side = model.coef_[0]
    if slope <= 0:
        return None
    return Rule(math.exp(-model.intercept_[0] / slope), -of_std / slope, math.exp(-of_side / slope))


def fit_seeds(trials: Trials, pixels: Pixels) -> dict[int, Rule]:
    """A rule for each seed: it may have an effect on all three of its numbers."""
    rules = {int(seed): fit(trials.part(trials.seed == seed), pixels) for seed in np.unique(trials.seed)}
    return {seed: rule for seed, rule in rules.items() if rule}


def average(rules: Iterable[Rule]) -> Rule:
    """The rule of seeds that are not known: factors are averaged as logarithms."""
    return _rule(_logarithms(rules).mean(axis=0))


def describe(trials: Trials, rules: dict[int, Rule], pixels: Pixels, confidence: float) -> dict[str, Any]:
    """The rule over seeds and by seed, with the intervals over seeds, and how often it is wrong.

    seeds_move: by which factor the thresholds of the seeds differ at most
    errors:     the share of trials that a rule is wrong about: each seed's own, that over all seeds, and for each seed
                that over the others
    """
    counts = {"trials": len(trials.dead), "dead": int(trials.dead.sum()), "seeds": len(np.unique(trials.seed))}
    if not rules:
        return counts | {"rule": None}
    logarithms = _logarithms(rules.values())
    rule, low, high = map(_rule, (logarithms.mean(axis=0), *interval(logarithms.T, confidence)))
    thresholds = [each.threshold for each in rules.values()]
    own, unseen = [], []
    for seed in rules:
        part = trials.part(trials.seed == seed)
        own.append((rules[seed].dies(part, pixels) != part.dead).mean())
        if others := [each for other, each in rules.items() if other != seed]:
            unseen.append((average(others).dies(part, pixels) != part.dead).mean())
    return counts | {
        "rule": {
            name: dict(zip(("value", "low", "high"), each, strict=True))
            for name, *each in zip(Rule._fields, rule, low, high, strict=True)
        },
        "by_seed": {seed: each._asdict() for seed, each in rules.items()},
        "seeds_move": max(thresholds) / min(thresholds),
        "errors": {
            "own_seed": float(np.mean(own)),
            "all_seeds": float((rule.dies(trials, pixels) != trials.dead).mean()),
            "unseen_seed": float(np.mean(unseen)) if unseen else None,
        },
    }


def slope(trials: Trials, rule: Rule | None, pixels: Pixels) -> dict[str, dict[str, float] | None]:
    """The accuracy of trials that learned: near the data, and in the last quarter before the limit; median and number,
    None where there are none."""
    if not rule:
        return {"near": None, "before_limit": None}
    distance = trials.distance(pixels)
    share = distance / rule.limit(trials.std, trials.mean < pixels.mean, pixels)
    parts = {"near": distance <= NEAR, "before_limit": share > 0.75}
    learned = {name: trials.accuracy[which & ~trials.dead] for name, which in parts.items()}
    return {name: {"median": np.median(each), "n": len(each)} if len(each) else None for name, each in learned.items()}


def agreement(trials: Trials, others: Trials) -> dict[str, int]:
    """Of the trials that both have, by mean, std and seed: how many, and how many died in both or in neither."""
    own, other = (dict(zip(zip(*each[:3], strict=True), each.dead, strict=True)) for each in (trials, others))
    shared = own.keys() & other.keys()
    return {"trials": len(shared), "agree": sum(bool(own[key] == other[key]) for key in shared)}


def by_init(rows: Sequence[Row], pixels: Pixels, threshold: float, confidence: float) -> dict[str, dict[str, Any]]:
    """How many trials learn at the boundary from each kind of initial weights, and the accuracy near the data.

    rows:    of a table that has all of them at the same normalizations, with the same seeds
    returns: by `init`; of all but the default the `difference` of the share that learns, compared seed by seed,
             if the default is there
    """
    trials, init = Trials.of(rows, threshold), np.array([row["init"] for row in rows])
    near, seeds = trials.distance(pixels) <= NEAR, np.unique(trials.seed)
    found: dict[str, dict[str, Any]] = {}
    shares = {}
    for name in np.unique(init).tolist():
        learned = ~trials.dead[(init == name) & ~near]
        found[name] = {"trials": len(learned), "learned": int(learned.sum())}
        if (close := trials.accuracy[(init == name) & near]).size:
            found[name]["near"] = {"mean": float(close.mean()), "n": len(close)}
        shares[name] = np.array(
            [(~trials.dead)[(init == name) & ~near & (trials.seed == seed)].mean() for seed in seeds]
        )
    if "default" in shares:
        default = shares.pop("default")
        compared = {name: compare(share, default, confidence) for name, share in shares.items()}
        for name, each in answers(compared, confidence).items():
            found[name]["difference"] = each
    return found


def _logarithms(rules: Iterable[Rule]) -> np.ndarray:
    """(rules, 3): of the factors; the exponent is one already."""
    return np.array([(math.log(each.threshold), each.std_exponent, math.log(each.side_factor)) for each in rules])


def _rule(logarithms: np.ndarray) -> Rule:
    threshold, exponent, side = logarithms
    return Rule(math.exp(threshold), float(exponent), math.exp(side))
