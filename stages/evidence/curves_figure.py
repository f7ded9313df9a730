"""A comparison epoch by epoch as a picture, with bands over seeds."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.evidence.paired import interval
from stages.evidence.tables import Row
from stages.settings.params import Rule


def draw(rows: Sequence[Row], rule: Rule) -> Figure:
    """Above the accuracy of each point, mean and range over seeds; below its difference, mean and interval.

    rows: of a comparison's table
    """
    figure = Figure(figsize=(9, 8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    seeds = len({row["seed"] for row in rows})
    for number, point in enumerate(dict.fromkeys(row["point"] for row in rows)):
        color, epochs = f"C{number}", sorted({int(row["epoch"]) for row in rows if row["point"] == point})
        accuracy, difference = (_by_epoch(rows, point, column, epochs) for column in ("accuracy", "difference"))
        above.plot(epochs, accuracy.mean(axis=1), color=color, marker=".", label=point)
        above.fill_between(epochs, accuracy.min(axis=1), accuracy.max(axis=1), color=color, alpha=0.15, linewidth=0)
        if difference.any():  # not the reference
            below.plot(epochs, 100 * difference.mean(axis=1), color=color, marker=".")
            low, high = interval(100 * difference, rule.confidence)
            below.fill_between(epochs, low, high, color=color, alpha=0.15, linewidth=0)
    below.axhline(0, color="C0", linewidth=1)
    for end in (-1, 1):
        label = f"the margin, ±{100 * rule.margin:g} points" if end > 0 else None
        below.axhline(100 * end * rule.margin, color="black", linewidth=0.8, linestyle="dotted", label=label)
    above.set(title=f"Does the difference close? {seeds} seeds", ylabel="test accuracy: mean and range over seeds")
    below.set(xlabel="epoch", ylabel=f"difference, points: mean, {100 * rule.confidence:g}% interval")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    for ax in (above, below):
        ax.legend(frameon=False)
    return figure


def _by_epoch(rows: Sequence[Row], point: str, column: str, epochs: Sequence[int]) -> np.ndarray:
    """(epochs, seeds)"""
    of = [[float(row[column]) for row in rows if (row["point"], int(row["epoch"])) == (point, each)] for each in epochs]
    return np.array(of)
