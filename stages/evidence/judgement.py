"""What the tables of trials say: points compared over seeds, searches, trials of the sweep again, treated networks."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, get_args

import numpy as np
import pandas as pd
from scipy import stats

from stages.common import tables
from stages.common.errors import InputError
from stages.common.tables import Row, numbers
from stages.evidence.paired import answers, compare, relative_error
from stages.settings.params import Rule, Study, Treatment

DIFFERENCES = {"accuracy": "difference", "loss": "loss_difference"}  # the comparison of each outcome, in the metrics

Metrics = dict[str, Any]


def kind(study: Study | None, metrics: Mapping[str, Any] | None = None) -> str:
    """How a study is judged, drawn and reported; None: the sweep. Its metrics tell the law from other points."""
    if study is None or study.search:
        return "search"
    if study.sweep_trials:
        return "again"
    if study.seeds is not None:
        return "law" if metrics and "offsets" in metrics else "seeds"
    return "treatments" if study.normalizations or study.points or study.grid else "photographs"


@contextmanager
def whole(path: object, way: str) -> Iterator[None]:
    """Whatever a damaged table or metrics file raises is one line, with the way to make it again."""
    try:
        yield
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        cause = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"{path}: is damaged, or not of such a study ({cause}); {way}") from error


def ends(rows: Sequence[Row]) -> dict[str, pd.DataFrame]:
    """How the trials at each point ended, by seed: accuracy, loss (nan where it is no number) and device."""
    table = (
        pd.DataFrame(tables.last_epochs(rows)).replace("", "nan").astype(dict.fromkeys(("seed", *DIFFERENCES), float))
    )
    return {point: of.set_index("seed") for point, of in table.groupby("point", sort=False)}


def curves(rows: Sequence[Row]) -> dict[str, pd.DataFrame]:
    """The accuracies at each point: a row for each seed, a column for each epoch."""
    table = pd.DataFrame(rows).astype({"seed": float, "epoch": int, "accuracy": float})
    by_point = table.groupby("point", sort=False)
    return {point: of.pivot(index="seed", columns="epoch", values="accuracy") for point, of in by_point}


def comparison(rows: Sequence[Row], rule: Rule, images: int) -> Metrics:
    """The metrics of points over seeds, by the name of the point:

    parameters, n (seeds), learned (how many of them)
    accuracy, loss:  over the seeds that learned
    difference:      from the reference, seed by seed, by the rule, with the `relative_error`; loss_difference: the same
                     of the loss, a declared second outcome, which has no margin. Only where all seeds of both learned:
                     a mean over trials that learned and trials that did not says nothing
    mixed_pairs:     how many of the pairs ran on two kinds of device

    images: on which accuracies are measured, if not on `held_out` ones

    What is compared is the end of the trials. The planned comparisons are those of all other points with the reference.
    """
    ended = ends(rows)
    first = {row["point"]: tables.parameters(row) for row in reversed(rows)}
    metrics: Metrics = {}
    for point, trials in ended.items():
        learned = trials[trials["accuracy"] > rule.threshold]
        metrics[point] = {"parameters": first[point], "n": len(trials), "learned": len(learned)}
        if len(learned):
            metrics[point] |= {outcome: over_seeds(learned[outcome].to_numpy()) for outcome in DIFFERENCES}
    comparable = {point: ended[point] for point, each in metrics.items() if each["learned"] == each["n"]}
    if (reference := comparable.pop(rule.reference, None)) is None:
        return metrics
    held_out = first[rule.reference].get("held_out")
    pairs = {
        point: trials.align(reference, join="inner", axis=0)
        for point, trials in comparable.items()
        if first[point].get("held_out") == held_out and trials.index.isin(reference.index).any()
    }
    for outcome, margin, step in (("accuracy", rule.margin, 1 / (held_out or images)), ("loss", math.nan, 0.0)):
        compared = {}
        for point, (own, other) in pairs.items():
            values = own[outcome].to_numpy(), other[outcome].to_numpy()
            if np.isfinite(values).all():  # a training run that diverged has no loss
                compared[point] = compare(*values, rule.confidence, margin, step)
                if outcome == "accuracy":
                    compared[point] |= relative_error(*values, rule.confidence, step)
        for point, each in answers(compared, rule.confidence, planned=len(metrics) - 1).items():
            metrics[point][DIFFERENCES[outcome]] = each
    for point, (own, other) in pairs.items():
        if mixed := int((own["device"] != other["device"]).sum()):
            metrics[point]["mixed_pairs"] = mixed
    return metrics


def over_seeds(values: np.ndarray) -> dict[str, float | None]:
    """values: one for each seed; std: with n - 1 in the denominator"""
    std = values.std(ddof=1) if len(values) > 1 else None
    return {"n": len(values), "mean": values.mean(), "std": std, "min": values.min(), "max": values.max()}


def search(rows: Sequence[Row], axes: Sequence[str], rule: Rule) -> Metrics:
    """The metrics of a search over `axes`.

    best:       the trial with the best accuracy, on the images that chose it; cross_half_accuracy: see there
    good:       trials whose accuracy is at most the rule's tolerance below the best
    accuracies: of the trials that learned, of each kind
    """
    rows = tables.last_epochs(rows)
    accuracy, values = numbers(rows, "accuracy"), {axis: tables.values(rows, axis) for axis in axes}
    best, learned = int(accuracy.argmax()), accuracy > rule.threshold
    good = np.flatnonzero(accuracy >= accuracy.max() - rule.tolerance)
    kinds = [name for name in rows[0] if name.startswith("accuracy") and not name.endswith(("_even", "_odd", "_own"))]
    chosen = {"number": best, "accuracy": accuracy.max(), "cross_half_accuracy": cross_half_accuracy(rows)}
    return {
        "best": chosen | {axis: values[axis][best] for axis in axes},
        "completed": len(rows),
        "learned": int(learned.sum()),
        "good": {"count": len(good)} | {axis: spread([values[axis][number] for number in good]) for axis in axes},
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


def follows(rows: Sequence[Row], sweep: Sequence[Row]) -> bool:
    """Whether trials that were evaluated again are trials of this sweep."""
    numbered = {int(row["point"].removeprefix("trial ")): row for row in rows}
    return max(numbered) < len(sweep) and all(
        row[axis] == sweep[number][axis] for number, row in numbered.items() for axis in ("mean", "std")
    )


def follow_up(rows: Sequence[Row], sweep: Sequence[Row], rule: Rule) -> Metrics:
    """The metrics of trials of the sweep that were evaluated again.

    accuracy: of those that learned, if any did
    share:    that learns, the interval of Clopper and Pearson, as if the trials were drawn
    silent:   medians of the shares of silent units, in the sweep and here
    """
    last = tables.last_epochs(rows)
    before = [sweep[int(point.removeprefix("trial "))] for point in dict.fromkeys(row["point"] for row in rows)]
    accuracy, in_sweep = numbers(last, "accuracy"), numbers(before, "accuracy")
    learned = accuracy[accuracy > rule.threshold]
    share = stats.binomtest(len(learned), len(last)).proportion_ci(rule.confidence)
    return {
        "trials": len(before),
        "evaluations": len(last),
        "learned": len(learned),
        "share": {"low": share.low, "high": share.high},
        **({"accuracy": spread(learned)} if len(learned) else {}),
        "accuracy_in_sweep": {"min": in_sweep.min(), "max": in_sweep.max()},
        "silent": {"sweep": silent(before), "follow_up": silent(last)},
    }


def silent(rows: Sequence[Row]) -> dict[str, float]:
    """Medians over trials of the shares of silent units, by layer and time."""
    columns = [column for column in rows[0] if "_silent_" in column]
    return {column.replace("_silent", ""): float(np.median(numbers(rows, column))) for column in columns}


def treatments(rows: Sequence[Row], images: int, rule: Rule) -> Metrics:
    """The metrics of a trained network under normalizations, each by treatment: accuracy, and the change from the
    network's own on the same images, with the `relative_error`.

    images: that each accuracy is measured on
    """
    metrics: Metrics = {}
    for row in rows:
        norm = {name: value for name, value in tables.parameters(row).items() if name != "treated"}
        of_point: Metrics = {"normalization": norm}
        metrics[row["point"]] = of_point
        right = round(images * float(row["accuracy_own"]))
        for treatment in get_args(Treatment):
            suffix = "" if treatment == "as_is" else f"_{treatment}"
            if row.get(f"accuracy{suffix}"):
                lost, gained = int(row[f"lost{suffix}"]), int(row[f"gained{suffix}"])
                # Whether each image is right: lost ones, those that are right before and after, gained ones, the rest.
                counts = lost, right - lost, gained, images - right - gained
                before, after = np.repeat([[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0]], counts, axis=1)
                difference = change(lost, gained, images, rule.confidence)
                difference |= relative_error(after, before, rule.confidence, 0.0)
                of_point[treatment] = {"accuracy": float(row[f"accuracy{suffix}"]), "difference": difference}
        if row.get("folded_difference"):
            of_point["folded_difference"] = float(row["folded_difference"])
            of_point["folded_other"] = int(row["folded_other"])
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
        "p_different": test,
    }


def photographs(row: Row, images: int) -> Metrics:
    """The metrics of a network under its own normalization, and of the pixels of its images, by channel."""
    kinds, colors = ("mean", "std", "image_std", "own_mean", "own_std"), ("red", "green", "blue")
    channels = {color: {kind: float(row[f"{kind}_{color[0]}"]) for kind in kinds} for color in colors}
    return {"accuracy": float(row["accuracy"]), "loss": float(row["loss"]), "images": images, "channels": channels}


def spread(values: Sequence[Any] | np.ndarray) -> dict[str, float]:
    """Minimum, median and maximum of numbers."""
    return {"min": float(np.min(values)), "median": float(np.median(values)), "max": float(np.max(values))}
