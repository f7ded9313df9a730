"""The boundary as a picture: where trials fail in the (mean, std) plane, and how accuracy falls towards it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.common import files
from stages.evidence import figures
from stages.evidence.boundary import Pixels, Rule, Trials, average
from stages.settings.params import Interval, LenetSpace, Norm

TICKS = (0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995)
FAILS: dict[str, Any] = {"color": "tab:gray", "alpha": 0.25, "linewidth": 0}


def read() -> tuple[Pixels, dict[int, Rule]]:
    """What the stages `statistics` and `region` found: the pixels, and the rule of each seed."""
    train = files.read_json(Path("metrics/statistics.json"))["train"]
    rules = files.read_json(Path("metrics/region.json")).get("by_seed", {})
    return Pixels(train["mean"], train["std"]), {int(seed): Rule(**rule) for seed, rule in rules.items()}


def draw(
    trials: Trials,
    rules: Mapping[int, Rule],
    sweep: Trials,
    pixels: Pixels,
    space: LenetSpace,
    normalizations: Mapping[str, Norm],
) -> Figure:
    """Above the plane with the trials at the boundary; below, over the same means, the accuracy of the sweep's trials.

    rules: by seed; without any, no boundary is drawn
    """
    figure = Figure(figsize=(10, 10), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    figures.limit(above, (space.mean, space.std))
    lines(above, rules, pixels, space.std)
    _shares(above, trials)
    figures.mark(above, normalizations, size=130)
    _accuracy(below, sweep)
    for side in (0, 1) if rules else ():
        means = np.concatenate([rule.means(_steps(space.std), pixels)[side] for rule in rules.values()])
        below.axvspan(means.min(), means.max(), **FAILS, label=None if side else "boundary, of any seed and std")
    above.set(title="Where training fails, over seeds", ylabel=figures.LABELS["std"])
    below.set(title="How accuracy falls towards it: trials of the search", xlabel=figures.LABELS["mean"])
    below.set(ylabel="test accuracy (chance: 0.1)")
    for ax in (above, below):
        figures.legend(ax, columns=3, below=0.06 if ax is above else 0.12)
    for axis in (above.yaxis, below.xaxis):
        figures.label(axis)
    return figure


def lines(ax: Axes, rules: Mapping[int, Rule], pixels: Pixels, stds: Interval, color: str = "black") -> None:
    """The boundary of each seed, thin, and that of their average, dashed."""
    at = _steps(stds)
    for index, rule in enumerate(rules.values()):
        for side, means in enumerate(rule.means(at, pixels)):
            name = f"boundary of each of {len(rules)} seeds" if (index, side) == (0, 0) else None
            ax.plot(means, at, color=color, linewidth=0.6, label=name)
    if rules:
        for side, means in enumerate(average(rules.values()).means(at, pixels)):
            name = None if side else "their average"
            ax.plot(means, at, color=color, linewidth=1.8, linestyle="dashed", label=name)


def shade(ax: Axes, rules: Mapping[int, Rule], pixels: Pixels, stds: Interval) -> None:
    """Grey where trials fail by the average rule, up to the ends of the axis."""
    if not rules:
        return
    rule = average(rules.values())
    at, (left, right) = _steps(stds), ax.get_xlim()
    below, above = rule.means(at, pixels)
    grey: dict[str, Any] = {"color": "0.88", "linewidth": 0, "zorder": 0}
    ax.fill_betweenx(at, left, np.maximum(below, left), **grey, label="training fails, over seeds")
    ax.fill_betweenx(at, np.minimum(above, right), right, **grey)


def _steps(axis: Interval) -> np.ndarray:
    return np.geomspace(axis.low, axis.high, 200) if axis.log else np.linspace(axis.low, axis.high, 200)


def _shares(ax: Axes, trials: Trials) -> None:
    """At each normalization the number of its seeds that learned: all, none, or some, which is written at it."""
    places = np.column_stack([trials.mean, trials.std])
    points = np.unique(places, axis=0)
    at = [(places == point).all(axis=1) for point in points]
    learned, seeds = (np.array([each[which].sum() for which in at]) for each in (~trials.dead, trials.dead | True))
    some = (learned > 0) & (learned < seeds)
    kinds: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        "learned with all seeds": (learned == seeds, {"marker": "o", "facecolors": "none", "edgecolors": "tab:blue"}),
        "with as many as are written": (some, {"marker": "o", "color": "tab:orange"}),
        "with none": (learned == 0, {"marker": "x", "color": "tab:gray"}),
    }
    for name, (which, style) in kinds.items():
        x, y = points[which].T
        ax.scatter(
            x, y, s=90 if which is some else 30, zorder=2.5, clip_on=False, label=f"{name} ({which.sum()})", **style
        )
    for (mean, std), count in zip(points[some], learned[some], strict=True):
        ax.annotate(str(count), (mean, std), ha="center", va="center_baseline", fontsize=8)


def _accuracy(ax: Axes, trials: Trials) -> None:
    # On a logit scale, differences between good trials show as well as those between good and bad.
    accuracy = trials.accuracy.clip(0.01, 0.999)
    ax.set(yscale="logit", ylim=(min(0.07, accuracy.min() / 1.5), max(0.992, (1 + accuracy.max()) / 2)))
    ax.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
    ax.set_yticks([], minor=True)
    for name, which, marker in (("learned", ~trials.dead, "."), ("died", trials.dead, "x")):
        color = "tab:gray" if name == "died" else "tab:blue"
        ax.scatter(
            trials.mean[which], accuracy[which], s=20, marker=marker, color=color, label=f"{name} ({which.sum()})"
        )
