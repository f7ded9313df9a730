"""The plateau as a picture: cells of mean and std, each with what its normalization costs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from stages.evidence import boundary_figure, figures
from stages.evidence.boundary import Pixels, Rule
from stages.settings.params import Params

COLORS = Normalize(-2, 0)  # of differences, in points
LINEAR = 0.35  # around a mean of 0, within which the axis is linear: beyond it, it is logarithmic
REACH = 5.0  # of the axis of means: the boundary is on it


def draw(entries: Sequence[Mapping[str, Any]], settings: Params, pixels: Pixels, rules: Mapping[int, Rule]) -> Figure:
    """A panel for each entry, whose cells are coloured by the mean difference from standard where all seeds learn.

    entries: the metrics of comparisons on one grid
    rules:   the boundary by seed, drawn where the trials were told the same as those at the boundary
    """
    figure = Figure(figsize=(11, 6), layout="constrained")
    panels = figure.subplots(1, len(entries), sharey=True)
    for ax, points in zip(panels, entries, strict=True):
        told, n = points["standard"]["parameters"], points["seeds"]
        cells = [point for point in points.values() if isinstance(point, dict)]
        _cells(ax, cells, settings)
        if told["optimizer"] == settings.told(settings.comparisons["boundary"].train)["optimizer"]:
            boundary_figure.lines(ax, rules, pixels, settings.sweep.space.std)
        figures.mark(ax, settings.normalizations, size=110)
        trained = f"{told['epochs']} epoch{'s' if told['epochs'] > 1 else ''}, {n} seed{'s' if n > 1 else ''}"
        ax.set(title=f"{figures.optimizer(told)}, {trained}", xlabel=figures.LABELS["mean"])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    panels[0].set_ylabel(figures.LABELS["std"])
    colors = ScalarMappable(COLORS, settings.contour.colormap)
    figure.colorbar(colors, ax=panels, extend="both", label="test accuracy: difference from standard, points")
    small = f"bold: less than {100 * settings.rule.margin:g} points"
    figure.suptitle(f"What a normalization costs ({small}; grey: so many seeds learn, ×: none)")
    return figure


def _cells(ax: Axes, cells: Sequence[Mapping[str, Any]], settings: Params) -> None:
    at = {(each["parameters"]["mean"], each["parameters"]["std"]): each for each in cells}
    means, stds = (np.unique([point[axis] for point in at]) for axis in (0, 1))
    x, y = _edges(means), np.exp(_edges(np.log(stds)))
    ax.set_xscale("asinh", linear_width=LINEAR)
    ax.set(yscale="log", xlim=(-REACH, REACH), ylim=(y[0], y[-1]))
    colors = colormaps[settings.contour.colormap].with_extremes(bad="0.88")  # where not all seeds learn
    centres = LINEAR * np.sinh((np.arcsinh(x[1:] / LINEAR) + np.arcsinh(x[:-1] / LINEAR)) / 2)  # as they are seen
    costs = np.full((len(stds), len(means)), np.nan)
    for (mean, std), each in at.items():
        row, column = np.searchsorted(stds, std), np.searchsorted(means, mean)
        difference = 100 * each["difference"]["mean"] if "difference" in each else 0.0
        count, n = each["learned"], each["accuracy"]["n"]
        learned = count == n  # otherwise a mean says little
        costs[row, column] = difference if learned else np.nan
        text = f"{difference:+.2f}" if learned else f"{count} of {n}" if count else "×"
        small = learned and difference > -100 * settings.rule.margin
        light = learned and COLORS(difference) < 0.6
        style: dict[str, Any] = {"ha": "center", "va": "center", "textcoords": "offset points", "fontsize": 8}
        style |= {"color": "white" if light else "black", "fontweight": "bold" if small else "normal"}
        ax.annotate(text, (centres[column], std), (0, -11), **style)
    ax.pcolormesh(x, y, costs, norm=COLORS, cmap=colors, edgecolors="white", linewidth=0.5)
    ax.set_xticks([-4, *means, 4], [f"{tick:g}" for tick in (-4, *means, 4)], rotation=45)
    ax.set_xticks([], minor=True)
    ax.set_yticks(stds, ["1/255" if np.isclose(tick, 1 / 255, rtol=1e-3) else f"{tick:g}" for tick in stds])
    ax.set_yticks([], minor=True)


def _edges(values: np.ndarray) -> np.ndarray:
    """Those of cells around values: in the middle between neighbours, and as far beyond the first and the last."""
    middles = (values[1:] + values[:-1]) / 2
    return np.concatenate([[2 * values[0] - middles[0]], middles, [2 * values[-1] - middles[-1]]])
