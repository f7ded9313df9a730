"""Trials of the sweep and their follow-ups: which are selected, what is changed, how both compare."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from stages.evidence.tables import Row, numbers, spread
from stages.settings.params import FollowUp, Parameters, Params, Selection


def select(rows: Sequence[Row], selection: Selection, threshold: float, standard: float) -> list[Row]:
    """The first trials that died or learned, those that died the nearest to the standard mean, or the best ones.

    rows:     of the sweep's table; trials have learned whose accuracy is above the threshold
    standard: the mean of the standard normalization
    """
    accuracy = numbers(rows, "accuracy")
    died = np.flatnonzero(accuracy <= threshold)
    numbers_of = {
        "died": died,
        "nearest_died": died[np.argsort(np.abs(numbers(rows, "mean")[died] - standard), kind="stable")],
        "learned": np.flatnonzero(accuracy > threshold),
        "best": np.argsort(-accuracy, kind="stable"),
    }
    return [rows[number] for number in numbers_of[selection.kind][: selection.first]]


def points(rows: Sequence[Row], follow_up: FollowUp, settings: Params) -> list[Parameters]:
    """What the follow-ups are told: for each trial one after the other, its seeds."""
    sweep, axes = settings.sweep, settings.sweep.space.axes()
    named = follow_up.change.model_dump(exclude_none=True)
    before, after = settings.told(sweep.train), settings.told(sweep.train, follow_up.change)
    # What a change brings along, such as the learning rate of another optimizer, is changed as well.
    changed = {name: value for name, value in after.items() if name in named or before.get(name) != value}
    told: list[Parameters] = []
    for row in rows:
        own = {name: row[name] if isinstance(axis, list) else float(row[name]) for name, axis in axes.items()}
        same = settings.fixed(sweep) | own | changed
        told += [same | {"seed": int(after["seed"]) + index} for index in range(follow_up.seeds)]
    return told


def summary(
    rows: Sequence[Row],
    results: Sequence[Mapping[str, Any]],
    silent: Sequence[str],
    threshold: float,
    confidence: float,
) -> dict[str, Any]:
    """The metrics of a follow-up.

    rows:       the trials in the sweep's table
    results:    of their follow-ups, one or more for each
    silent:     the columns with shares of silent units, of which there are medians
    confidence: of the interval of the share that learns (Clopper and Pearson's, as if trials were drawn)
    """
    accuracy = [result["accuracy"] for result in results]
    learned = sum(each > threshold for each in accuracy)
    low, high = binomtest(learned, len(accuracy)).proportion_ci(confidence) if rows else (None, None)
    by_epoch = zip(*(result.get("accuracy_by_epoch", [result["accuracy"]]) for result in results), strict=True)
    return {
        "trials": len(rows),
        "evaluations": len(results),
        "learned": learned,
        "learned_by_epoch": {epoch: sum(each > threshold for each in of) for epoch, of in enumerate(by_epoch, 1)},
        "share": {"low": low, "high": high},
        "accuracy": spread(accuracy) if rows else None,
        "accuracy_in_sweep": spread(numbers(rows, "accuracy")) if rows else None,
        "silent": {"sweep": _medians(rows, silent), "follow_up": _medians(results, silent)} if rows else None,
    }


def _medians(trials: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dict[str, float]:
    return {
        column.replace("_silent", ""): float(np.median([float(trial[column]) for trial in trials]))
        for column in columns
    }
