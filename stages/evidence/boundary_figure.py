"""The boundary as a picture: where trials learn in the (mean, std) plane, and their accuracy over the quantity."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.evidence import figures
from stages.evidence.boundary import Boundary
from stages.evidence.plateau import OverSeeds, Trials
from stages.settings.params import LenetSpace, Norm

TICKS = (0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995)
SAFE: dict[str, Any] = {"color": "tab:green", "alpha": 0.12, "linewidth": 0}
DOUBT: dict[str, Any] = {"color": "tab:orange", "alpha": 0.3, "linewidth": 0}
THRESHOLD: dict[str, Any] = {"color": "black", "linewidth": 1, "linestyle": "dashed"}


def draw(
    trials: Trials,
    boundary: Boundary,
    separating: Mapping[str, Any],
    plane: np.ndarray,
    standard: OverSeeds,
    space: LenetSpace,
    normalizations: Mapping[str, Norm],
) -> Figure:
    """Left the plane, right the accuracy over the quantity of `boundary`.

    separating: as `boundary.separate` and `boundary.extent` give it; without a band, no boundary is drawn
    plane:      mean and std of its cells, as `boundary.plane` gives them
    """
    figure = Figure(figsize=(13, 6), layout="constrained")
    left, right = figure.subplots(1, 2)
    figures.limit(left, (space.mean, space.std))
    _scatter(left, trials, *trials.points.T)
    _accuracy(right, trials, boundary, standard)
    if "band" in separating:
        _boundary(left, right, boundary, separating["threshold"]["value"], separating["band"], plane)
    figures.mark(left, normalizations, size=130)
    left.set(title="Which normalizations train", xlabel=figures.LABELS["mean"], ylabel=figures.LABELS["std"])
    right.set(
        title="What separates those that train", xlabel=axis_label(boundary), ylabel="test accuracy (chance: 0.1)"
    )
    for ax in (left, right):
        figures.label(ax.xaxis)
        figures.legend(ax, columns=2, below=0.14)
    figures.label(left.yaxis)
    return figure


def axis_label(boundary: Boundary) -> str:
    """The quantity in words and numbers."""
    mean, std = boundary.pixels
    offset = f"|mean - {mean:.4g}| / {std:.4g}: offset in standard deviations of the pixels"
    labels = {
        "relative_offset": offset,
        "offset": "distance of the normalized pixels' mean from 0",
        "contrast": "standard deviation of the normalized pixels",
        "root_mean_square": "root mean square of the normalized pixels",
        "largest_input": "largest absolute value of a normalized pixel",
    }
    if boundary.quantity in labels:
        return labels[boundary.quantity]
    _, exponent, side = boundary.weights_
    return f"{offset},\ntimes (std / {std:.4g})^{exponent:.2f}, and times {np.exp(side):.2f} where mean > {mean:.4g}"


def _accuracy(ax: Axes, trials: Trials, boundary: Boundary, standard: OverSeeds) -> None:
    # On a logit scale, differences between good trials show as well as those between good and bad.
    accuracy = trials.accuracy.clip(0.01, 0.999)
    ax.set(xscale="log", yscale="logit", ylim=(min(0.07, accuracy.min() / 1.5), max(0.992, (1 + accuracy.max()) / 2)))
    ax.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
    ax.set_yticks([], minor=True)
    _scatter(ax, trials, np.exp(boundary.scores(trials.points)), accuracy)
    ax.axhline(min(standard.mean, 0.999), color="red", linewidth=1, label=f"standard: mean of {standard.n} seeds")


def _scatter(ax: Axes, trials: Trials, x: np.ndarray, y: np.ndarray) -> None:
    style: dict[str, Any] = {"s": 16, "zorder": 2.5, "linewidths": 0.8, "clip_on": False}
    learned, dead = ~trials.dead, trials.dead
    # Hollow circles hide no trial.
    hollow: dict[str, Any] = {"facecolors": "none", "edgecolors": "tab:blue"}
    ax.scatter(x[learned], y[learned], label=f"learned ({learned.sum()})", **hollow, **style)
    ax.scatter(x[dead], y[dead], label=f"died ({dead.sum()})", marker="x", color="tab:gray", **style)


def _boundary(
    left: Axes,
    right: Axes,
    boundary: Boundary,
    threshold: float,
    band: Mapping[str, float],
    plane: np.ndarray,
) -> None:
    values = np.exp(boundary.scores(plane.reshape(-1, 2))).reshape(plane.shape[:-1])
    means, stds = np.moveaxis(plane, -1, 0)
    low, high = band["low"], band["high"]
    left.contourf(means, stds, values, levels=[0, low], colors=[SAFE["color"]], alpha=SAFE["alpha"])
    left.contourf(means, stds, values, levels=[low, high], colors=[DOUBT["color"]], alpha=DOUBT["alpha"])
    left.contour(means, stds, values, levels=[threshold], colors="black", linewidths=1, linestyles="dashed")
    right.axvspan(0, low, **SAFE)
    right.axvspan(low, high, **DOUBT)
    right.axvline(threshold, **THRESHOLD)
    for ax in (left, right):  # what a legend can show of the above
        ax.fill([], [], **SAFE, label=f"all trials learned: below {low:.3g}")
        ax.fill([], [], **DOUBT, label=f"in doubt: {low:.3g} to {high:.3g}")
        ax.plot([], [], **THRESHOLD, label=f"threshold: {threshold:.3g}")
