"""What the tables of trials say: points compared over seeds, searches, trials of the sweep again, treated networks."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, get_args

import numpy as np
from scipy import stats

from stages.common import tables
from stages.common.errors import InputError
from stages.common.tables import Row, numbers, spread
from stages.evidence.paired import answers, compare, relative_error
from stages.settings.params import Rule, Study, Treatment

DIFFERENCES = {"accuracy": "difference", "loss": "loss_difference"}  # the comparison of each outcome, in the metrics
SAME_TEST = ("held_out",)  # parameters that decide on which images a trial is tested
CHANNELS = {"red": "r", "green": "g", "blue": "b"}

Metrics = dict[str, Any]


def kind(study: Study | None) -> str:
    """How a study is judged, drawn and reported; None: the sweep."""
    if study is None or study.search:
        return "search"
    if study.sweep_trials:
        return "again"
    if study.seeds is not None:
        return "seeds"
    return "treatments" if study.normalizations or study.points or study.grid else "photographs"


@contextmanager
def whole(path: object, way: str) -> Iterator[None]:
    """Whatever a damaged table or metrics file raises is one line, with the way to make it again."""
    try:
        yield
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        cause = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"{path}: is damaged, or not of such a study ({cause}); {way}") from error


class Curves(NamedTuple):
    """The results of one point, seed by seed.

    seeds:    int array (seeds,)
    accuracy: float array (seeds, epochs); loss: the same, nan where it is no number
    devices:  on which each trial ran
    """

    seeds: np.ndarray
    accuracy: np.ndarray
    loss: np.ndarray
    devices: list[str]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Curves":
        ends = tables.last_epochs(rows)
        shape = len(ends), -1
        accuracy, loss = (numbers(rows, column).reshape(shape) for column in ("accuracy", "loss"))
        return cls(numbers(ends, "seed").astype(int), accuracy, loss, [row["device"] for row in ends])

    def means(self, threshold: float) -> np.ndarray:
        """Accuracies after each epoch, float array (epochs,): nan where not all seeds have learned yet."""
        return np.where((self.accuracy > threshold).all(axis=0), self.accuracy.mean(axis=0), math.nan)

    def part(self, which: np.ndarray) -> "Curves":
        """which: bool array (seeds,), or indices"""
        return Curves(self.seeds[which], self.accuracy[which], self.loss[which], list(np.array(self.devices)[which]))

    def paired(self, reference: "Curves") -> tuple["Curves", "Curves"]:
        """Both with the seeds that both have, in ascending order."""
        _, own, other = np.intersect1d(self.seeds, reference.seeds, return_indices=True)
        return self.part(own), reference.part(other)


def curves(rows: Sequence[Row]) -> dict[str, Curves]:
    """By the name of the point."""
    return {point: Curves.of(of) for point, of in by_point(rows).items()}


def by_point(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each point, in the order of the table."""
    of: dict[str, list[Row]] = {}
    for row in rows:
        of.setdefault(row["point"], []).append(row)
    return of


def comparison(rows: Sequence[Row], rule: Rule, images: int) -> Metrics:
    """The metrics of points over seeds, by the name of the point:

    parameters, n (seeds), learned (how many of them)
    accuracy, loss:  over the seeds that learned; `by_epoch`: their means after each epoch, where there are several, and
                     nan after those at which some of them had not learned yet
    difference:      from the reference, seed by seed, by the rule, with the `relative_error`; loss_difference: the same
                     of the loss, a declared second outcome, which has no margin. Only where all seeds of both learned:
                     a mean over trials that learned and trials that did not says nothing
    mixed_pairs:     how many of the pairs ran on two kinds of device

    images: on which accuracies are measured, if not on `held_out` ones

    What is compared is the end of the trials. The planned comparisons are those of all other points with the reference.
    """
    rows_of = by_point(rows)
    of = {point: Curves.of(part) for point, part in rows_of.items()}
    parameters = {point: tables.parameters(part[0]) for point, part in rows_of.items()}
    learned = {point: each.accuracy[:, -1] > rule.threshold for point, each in of.items()}
    metrics: Metrics = {}
    for point, each in of.items():
        count = int(learned[point].sum())
        metrics[point] = {"parameters": parameters[point], "n": len(each.seeds), "learned": count}
        if count:
            those = each.part(learned[point])
            metrics[point] |= {"accuracy": over_seeds(those.accuracy[:, -1]), "loss": over_seeds(those.loss[:, -1])}
            if each.accuracy.shape[1] > 1:
                means = those.means(rule.threshold)
                metrics[point]["by_epoch"] = {epoch: {"accuracy": mean} for epoch, mean in enumerate(means, 1)}
    if rule.reference in of and learned[rule.reference].all():
        tested = {point: [parameters[point].get(key) for key in SAME_TEST] for point in of}
        comparable = {
            point: each.paired(of[rule.reference])
            for point, each in of.items()
            if point != rule.reference and learned[point].all() and tested[point] == tested[rule.reference]
        }
        _add_differences(
            metrics, {point: pair for point, pair in comparable.items() if len(pair[0].seeds)}, rule, images
        )
    return metrics


def _add_differences(metrics: Metrics, pairs: Mapping[str, tuple[Curves, Curves]], rule: Rule, images: int) -> None:
    tested = metrics[rule.reference]["parameters"].get("held_out", images)
    for outcome, margin, step in (("accuracy", rule.margin, 1 / tested), ("loss", math.nan, 0.0)):
        ends = {point: [getattr(each, outcome)[:, -1] for each in pair] for point, pair in pairs.items()}
        compared = {
            point: compare(end, reference, rule.confidence, margin, step)
            for point, (end, reference) in ends.items()
            if np.isfinite(end - reference).all()  # a training run that diverged has no loss
        }
        for point, each in answers(compared, rule.confidence, planned=len(metrics) - 1).items():
            metrics[point][DIFFERENCES[outcome]] = each
            if outcome == "accuracy":
                end, reference = ends[point]
                each |= relative_error(end, reference, rule.confidence, step)
    for point, (own, reference) in pairs.items():
        if mixed := sum(one != other for one, other in zip(own.devices, reference.devices, strict=True)):
            metrics[point]["mixed_pairs"] = mixed
        epochs = min(own.accuracy.shape[1], reference.accuracy.shape[1])
        if epochs > 1:
            means = [each.means(rule.threshold)[:epochs] for each in (own, reference)]
            for epoch, mean in enumerate(means[0] - means[1], 1):
                metrics[point]["by_epoch"][epoch]["difference"] = mean


def over_seeds(values: np.ndarray) -> dict[str, float | None]:
    """values: one for each seed; std: with n - 1 in the denominator"""
    n = len(values)
    std = float(values.std(ddof=1)) if n > 1 else None
    return {"n": n, "mean": float(values.mean()), "std": std, "min": float(values.min()), "max": float(values.max())}


def search(rows: Sequence[Row], axes: Sequence[str], rule: Rule) -> Metrics:
    """The metrics of a search over `axes`.

    best:       the trial with the best accuracy, on the images that chose it; cross_half_accuracy: see there
    good:       trials whose accuracy is at most the rule's tolerance below the best
    accuracies: of the trials that learned, of each kind
    """
    rows = tables.last_epochs(rows)
    points = [{axis: tables.value(row[axis]) for axis in axes} for row in rows]
    accuracy = numbers(rows, "accuracy")
    best, learned = int(accuracy.argmax()), accuracy > rule.threshold
    good = [points[number] for number in np.flatnonzero(accuracy >= accuracy.max() - rule.tolerance).tolist()]
    kinds = [name for name in rows[0] if name.startswith("accuracy") and not name.endswith(("_even", "_odd", "_own"))]
    chosen = {"number": best, "accuracy": accuracy.max(), "cross_half_accuracy": cross_half_accuracy(rows)}
    return {
        "best": chosen | points[best],
        "completed": len(rows),
        "learned": int(learned.sum()),
        "good": {"count": len(good)} | {axis: _values([point[axis] for point in good]) for axis in axes},
        "accuracies": {name: spread(numbers(rows, name)[learned]) for name in kinds if learned.any()},
        "device_kinds": len({row["device"] for row in rows}),
    }


def cross_half_accuracy(rows: Sequence[Row]) -> float:
    """The accuracy of the best trial on images that had no part in choosing it.

    The best of many accuracies on the same images is too high by luck. Here the best trial on one half of the test
    images counts with its accuracy on the other half; the mean of both ways round.
    """
    even, odd = numbers(rows, "accuracy_even"), numbers(rows, "accuracy_odd")
    return float(odd[even.argmax()] + even[odd.argmax()]) / 2


def follow_up(rows: Sequence[Row], sweep: Sequence[Row], rule: Rule) -> Metrics:
    """The metrics of trials of the sweep that were evaluated again.

    accuracy: of those that learned, if any did
    share:    that learns, the interval of Clopper and Pearson, as if the trials were drawn
    silent:   medians of the shares of silent units, in the sweep and here
    """
    ends = tables.last_epochs(rows)
    before = [sweep[int(point.removeprefix("trial "))] for point in by_point(rows)]
    accuracy, in_sweep = numbers(ends, "accuracy"), numbers(before, "accuracy")
    by_epoch: dict[str, list[bool]] = {}
    for row in rows:
        by_epoch.setdefault(row["epoch"], []).append(float(row["accuracy"]) > rule.threshold)
    learned = int((accuracy > rule.threshold).sum())
    share = stats.binomtest(learned, len(ends)).proportion_ci(rule.confidence)
    return {
        "trials": len(before),
        "evaluations": len(ends),
        "learned": learned,
        "learned_by_epoch": {epoch: sum(of) for epoch, of in by_epoch.items()},
        "share": {"low": share.low, "high": share.high},
        **({"accuracy": spread(accuracy[accuracy > rule.threshold])} if learned else {}),
        "accuracy_in_sweep": {"min": in_sweep.min(), "max": in_sweep.max()},
        "silent": {"sweep": silent(before), "follow_up": silent(ends)},
    }


def silent(rows: Sequence[Row]) -> dict[str, float]:
    """Medians over trials of the shares of silent units, by layer and time."""
    columns = [column for column in rows[0] if "_silent_" in column] if rows else []
    return {column.replace("_silent", ""): float(np.median(numbers(rows, column))) for column in columns}


def treatments(rows: Sequence[Row], images: int, rule: Rule) -> Metrics:
    """The metrics of a trained network under normalizations, each by treatment: accuracy, and the change from the
    network's own on the same images, with the `relative_error`.

    images: that each accuracy is measured on
    """
    metrics: Metrics = {}
    for row in rows:
        norm = {name: value for name, value in tables.parameters(row).items() if name != "treated"}
        metrics[row["point"]] = {"normalization": norm}
        for treatment in get_args(Treatment):
            suffix = "" if treatment == "as_is" else f"_{treatment}"
            if row.get(f"accuracy{suffix}"):
                lost, gained = int(row[f"lost{suffix}"]), int(row[f"gained{suffix}"])
                difference = change(lost, gained, images, rule.confidence)
                # Whether each image is right, before and after: first those that are right before.
                right, places = round(images * float(row["accuracy_own"])), np.arange(images)
                before = (places < right).astype(float)
                after = ((places >= lost) & (places < right + gained)).astype(float)
                difference |= relative_error(after, before, rule.confidence, 0.0)
                accuracy = float(row[f"accuracy{suffix}"])
                metrics[row["point"]][treatment] = {"accuracy": accuracy, "difference": difference}
        if row.get("folded_difference"):
            folded = {"folded_difference": float(row["folded_difference"]), "folded_other": int(row["folded_other"])}
            metrics[row["point"]] |= folded
    return {"images": images, "normalizations": metrics}


def change(lost: int, gained: int, images: int, confidence: float) -> Metrics:
    """The change of accuracy on the same images, paired by image.

    lost, gained: images that are right before alone, and after alone
    returns:      both; mean, (gained - lost) / images; interval, of Bonett and Price (2012), which holds its confidence
                  where few images change; p_different, of McNemar's exact test that lost and gained are equally likely
    """
    test = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    # As if one image more had changed each way: with no change at all, the interval has a width all the same.
    share_lost, share_gained, total = (lost + 1) / (images + 2), (gained + 1) / (images + 2), images + 2
    middle = share_gained - share_lost
    half = stats.norm.ppf((1 + confidence) / 2) * math.sqrt((share_gained + share_lost - middle**2) / total)
    return {
        "lost": lost,
        "gained": gained,
        "mean": (gained - lost) / images,
        "interval": {"low": max(-1.0, middle - half), "high": min(1.0, middle + half)},
        "p_different": float(test),
    }


def photographs(row: Row, images: int) -> Metrics:
    """The metrics of a network under its own normalization, and of the pixels of its images, by channel."""
    kinds = ("mean", "std", "image_std", "own_mean", "own_std")
    channels = {color: {kind: float(row[f"{kind}_{key}"]) for kind in kinds} for color, key in CHANNELS.items()}
    return {"accuracy": float(row["accuracy"]), "loss": float(row["loss"]), "images": images, "channels": channels}


def _values(values: Sequence[Any]) -> dict[str, float]:
    """The spread of numbers; of choices, how often each was made."""
    return dict(Counter(values)) if isinstance(values[0], str) else spread(values)
