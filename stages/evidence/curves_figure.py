"""Comparisons epoch by epoch as a picture, with bands over seeds."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from stages.evidence import figures
from stages.evidence.paired import interval
from stages.evidence.tables import Row
from stages.settings.params import Params


def draw(titles: Sequence[str], entries: Sequence[Sequence[Row]], settings: Params) -> Figure:
    """A panel for each entry: above the accuracy of each point, mean and range over seeds; below its difference from
    the reference, mean and interval. Seeds that have not learned at the end are left out, and counted.

    entries: rows of comparisons' tables, of each the reference first
    """
    rule, threshold = settings.rule, settings.region.threshold
    figure = Figure(figsize=(1 + 6 * len(entries), 8), layout="constrained")
    panels = figure.subplots(2, len(entries), sharex=True, sharey="row", height_ratios=(3, 2), squeeze=False)
    for title, rows, above, below in zip(titles, entries, *panels, strict=True):
        for number, point in enumerate(dict.fromkeys(row["point"] for row in rows)):
            accuracy, difference = (_over_seeds(rows, point, column) for column in ("accuracy", "difference"))
            learned = accuracy[:, -1] > threshold
            if not learned.any():
                continue
            color, epochs = f"C{number}", np.arange(1, accuracy.shape[1] + 1)
            shown, band = accuracy[learned], {"color": color, "alpha": 0.15, "linewidth": 0}
            count = f"{learned.sum()} of {len(learned)}" if not learned.all() else len(learned)
            label = f"{point} ({count} seed{'s' if len(learned) > 1 else ''})"
            above.plot(epochs, shown.mean(axis=0), color=color, marker=".", label=label)
            above.fill_between(epochs, shown.min(axis=0), shown.max(axis=0), **band)
            if number:  # not the reference
                below.plot(epochs, 100 * difference[learned].mean(axis=0), color=color, marker=".")
                below.fill_between(epochs, *interval(100 * difference[learned].T, rule.confidence), **band)
        below.axhline(0, color="C0", linewidth=1)
        for end in (-1, 1):
            label = f"the margin, ±{100 * rule.margin:g} points" if end > 0 else ""
            below.axhline(100 * end * rule.margin, color="black", linewidth=0.8, linestyle="dotted", label=label)
        above.set(title=title)
        below.set(xlabel="epoch")
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        for ax in (above, below):
            ax.legend(frameon=False, loc="lower right")
    panels[0, 0].set_ylabel("test accuracy:\nmean and range over seeds")
    panels[0, 0].set_ylim(bottom=max(panels[0, 0].get_ylim()[0], figures.SCALE[0]))
    panels[1, 0].set_yscale("symlog", linthresh=1)  # tenths of a point show, beside the wide interval of few seeds
    panels[1, 0].yaxis.set_major_formatter(ScalarFormatter())
    panels[1, 0].set_ylabel(f"difference from standard, points:\nmean, {100 * rule.confidence:g}% interval")
    return figure


def _over_seeds(rows: Sequence[Row], point: str, column: str) -> np.ndarray:
    """(seeds, epochs); nan where the reference was trained for fewer"""
    of = [row for row in rows if row["point"] == point]
    return np.reshape([float(row[column] or "nan") for row in of], (len({row["seed"] for row in of}), -1))
