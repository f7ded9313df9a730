"""How pictures are drawn that DVC's own plots cannot draw."""

import io
import math
import warnings
from pathlib import Path
from typing import Any

import optuna
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PathCollection
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from optuna.visualization.matplotlib import plot_contour, plot_parallel_coordinate

from stages import outputs
from stages.params import Contour

GOLDEN_RATIO = (1 + math.sqrt(5)) / 2
TICKS = (0.1, 0.5, 0.8, 0.9, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995)
# (mean, std): the values that everyone copies (pytorch/examples, commit 32c7386, January 2017), and pixels as they are.
MARKED = {"standard (0.1307, 0.3081)": (0.1307, 0.3081), "as they are (0, 1)": (0.0, 1.0)}


def contour(trials: optuna.Study, x: str, y: str, look: Contour) -> tuple[Figure, Axes]:
    """Optuna's contour plot of accuracy over two parameters, on a scale that shows how good trials differ, too.

    x, y: names of parameters in alphabetical order: Optuna draws them so, whatever order it is given
    """
    assert x < y
    with warnings.catch_warnings():
        # plot_contour has been "experimental" since 2020: nothing that a user could act on.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Accuracies lie near 0.1 or between 0.97 and 0.99: on a scale of orders of magnitude of the error, both show.
        ax = plot_contour(
            trials, params=[x, y], target=lambda trial: -error(trial.value or 0.0), target_name="accuracy"
        )
    assert isinstance(ax, Axes)
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.set_size_inches(look.width, look.width / GOLDEN_RATIO)
    scale: Any = None
    for drawn in list(ax.collections):
        if isinstance(drawn, PathCollection):
            drawn.remove()  # all black: drawn again below in the colour of their own accuracy
        elif isinstance(drawn, ContourSet) and drawn.filled:
            drawn.set_cmap(look.colormap)
            scale = drawn.norm
    points = [(trial.params[x], trial.params[y], -error(trial.value or 0.0)) for trial in trials.trials]
    xs, ys, values = zip(*points, strict=True)
    ax.scatter(xs, ys, c=values, cmap=look.colormap, norm=scale, s=24, edgecolors="black", zorder=2, label="trial")
    for bar in figure.axes[1:]:
        low, high = bar.get_ylim()
        ticks = [tick for tick in TICKS if low <= -error(tick) <= high]
        bar.set_yticks([-error(tick) for tick in ticks], [f"{tick:g}" for tick in ticks])
    for axis in (ax.xaxis, ax.yaxis):
        label(axis)
    return figure, ax


def parallel(trials: optuna.Study, names: list[str], look: Contour) -> tuple[Figure, Axes]:
    """Optuna's parallel coordinates: a line for each trial, through its parameters, in the colour of its accuracy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Without a target of its own it knows that more is better, and draws good trials darkest.
        ax = plot_parallel_coordinate(trials, params=names, target_name="accuracy")
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.set_size_inches(look.width, look.width / GOLDEN_RATIO)
    return figure, ax


def label(axis: Axis) -> None:
    """Plain numbers along an axis; on a logarithmic one at 1, 2 and 5 of every decade, within one at all ticks."""
    axis.set_major_formatter("{x:g}")
    if axis.get_scale() == "log":
        low, high = axis.get_view_interval()
        if high < 10 * low:
            axis.set_minor_formatter("{x:g}")
        else:
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_minor_locator(NullLocator())


def legend(ax: Axes, columns: int = 3) -> None:
    """Below the axes: within them it would hide trials."""
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=columns, frameon=False)


def mark(ax: Axes, size: float) -> None:
    """Marks the normalizations that everything is compared with; size: area of a marker, in points squared."""
    for (label, (mean, std)), marker in zip(MARKED.items(), "*D", strict=True):
        ax.scatter(mean, std, marker=marker, s=size, color="red", edgecolors="white", zorder=3, label=label)


def save(figure: Figure, path: Path, dpi: int) -> None:
    """As PNG, the same bytes for the same picture: without the version of matplotlib."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=dpi, metadata={"Software": None})
    outputs.write_bytes(path, image.getvalue())


def error(accuracy: float) -> float:
    """The order of magnitude of the error; the error of a perfect trial counts as 1 in 20,000."""
    return math.log10(max(1 - accuracy, 5e-5))
