"""Trials of the sweep and their follow-ups: which are selected, what is changed, how both compare."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stages.evidence.tables import Row, numbers, spread
from stages.settings.params import FollowUp, Parameters, Params, Selection


def select(rows: Sequence[Row], selection: Selection, threshold: float) -> list[Row]:
    """The first trials that died or learned, or the best ones, the best first.

    rows: of the sweep's table; trials have learned whose accuracy is above the threshold
    """
    accuracy = numbers(rows, "accuracy")
    numbers_of = {
        "died": np.flatnonzero(accuracy <= threshold),
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
    rows: Sequence[Row], results: Sequence[Mapping[str, Any]], silent: Sequence[str], threshold: float
) -> dict[str, Any]:
    """The metrics of a follow-up.

    rows:    the trials in the sweep's table
    results: of their follow-ups, one or more for each
    silent:  the columns with shares of silent units, of which there are medians
    """
    accuracy = [result["accuracy"] for result in results]
    return {
        "trials": len(rows),
        "evaluations": len(results),
        "learned": sum(each > threshold for each in accuracy),
        "accuracy": spread(accuracy) if rows else None,
        "accuracy_in_sweep": spread(numbers(rows, "accuracy")) if rows else None,
        "silent": {"sweep": _medians(rows, silent), "follow_up": _medians(results, silent)} if rows else None,
    }


def _medians(trials: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dict[str, float]:
    return {
        column.replace("_silent", ""): float(np.median([float(trial[column]) for trial in trials]))
        for column in columns
    }
