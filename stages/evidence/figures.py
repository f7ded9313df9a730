"""Pictures that DVC's own plots cannot draw."""

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import FuncNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from optuna.visualization.matplotlib import plot_parallel_coordinate
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import QhullError

from stages.common import files
from stages.settings.params import Contour, Interval, Norm, Parameters

GOLDEN_RATIO = (1 + math.sqrt(5)) / 2
TICKS = (0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995)
LABELS = {  # of axes, by the name of the parameter
    "mean": "mean: what is subtracted (pixels lie in [0, 1])",
    "std": "std: what is divided by (same unit)",
    "weight_factor": "initial weights of the first convolution, times",
    "bias_factor": "initial biases of the first convolution, times",
    "lr": "learning rate in the first epoch",
    "init": "initial weights",
}
MARKED = {"standard": "*", "zero_one": "d", "none": "s"}  # normalizations that are told apart, and their markers
SCALE = 0.94, 0.99  # accuracies at the ends of the colours, in all pictures of LeNet
FEW = 20  # trials that learned: between fewer, a map would be hills around single trials
PIXELS = 600  # of the interpolated map, along each axis
Values = Sequence[float] | Sequence[str] | np.ndarray
Searched = Interval | list[str]


def accuracy_map(
    x: Values,
    y: Values,
    accuracy: Sequence[float] | np.ndarray,
    look: Contour,
    threshold: float | None,
    vmin: float | None = None,
    vmax: float | None = None,
    log_y: bool = True,
    within: tuple[Searched, Searched] | None = None,
    interpolated: bool = True,
) -> tuple[Figure, Axes]:
    """Accuracy over two parameters: the trials that learned in colour, those that died as crosses.

    Between neighbours that all learned the colour is interpolated, on the scales of the axes; elsewhere nothing is
    drawn, as nothing is known there.

    x, y:       parameters of the trials (n,): numbers; or choices, between which nothing is interpolated
    accuracy:   fractions (n,)
    threshold:  trials have learned if their accuracy is above this; None: all have, as none was trained
    vmin, vmax: accuracies at the ends of the colours, by default the lowest and the highest of those that learned
    within:     where the parameters were searched: there the axes end, with scales as in the search instead of `log_y`
    interpolated: whether more is drawn than the trials
    """
    x, y, accuracy = np.array(x), np.array(y), np.array(accuracy)
    learned = np.ones(len(accuracy), bool) if threshold is None else accuracy > threshold
    choices = "U" in (x.dtype.kind, y.dtype.kind)
    figure = Figure(figsize=(look.width, look.width / GOLDEN_RATIO))
    ax = figure.subplots()
    ax.set_yscale("log" if log_y and not choices else "linear")
    if within:
        limit(ax, within)
    style: dict[str, Any] = {"clip_on": False, "zorder": 2}  # a trial at the edge is whole
    if threshold is not None:
        label_died = f"accuracy up to {threshold:g} ({(~learned).sum()})"
        ax.scatter(x[~learned], y[~learned], s=20, c="tab:gray", marker="x", label=label_died, **style)
    if learned.any():
        shown = accuracy[learned]
        low, high = shown.min() if vmin is None else vmin, shown.max() if vmax is None else vmax
        colors: dict[str, Any] = {"cmap": look.colormap, "norm": error_scale(low, high)}
        label_learned = f"{'trials' if threshold is None else 'above'} ({learned.sum()})"
        style |= {"s": 12, "edgecolors": "black", "linewidths": 0.5, "label": label_learned}
        points = ax.scatter(x[learned], y[learned], c=shown, **colors, **style)
        if interpolated and learned.sum() >= FEW and not choices:
            _interpolate(ax, x, y, accuracy, learned, colors)
        beyond = {(True, True): "both", (True, False): "min", (False, True): "max", (False, False): "neither"}
        extend = beyond[bool(shown.min() < low), bool(shown.max() > high)]
        bar = figure.colorbar(points, label="test accuracy", extend=extend)
        ticks = [tick for tick in TICKS if low <= tick <= high]
        bar.set_ticks(ticks if len(ticks) > 1 else [low, high])
        bar.ax.yaxis.set_major_formatter("{x:.4g}")
    for axis in (ax.xaxis, ax.yaxis):
        label(axis)
    return figure, ax


def error_scale(low: float, high: float) -> FuncNorm:
    """Colours by the order of magnitude of the error: 0.97 and 0.98 differ as much as 0.5 and 0.67."""
    least = 5e-5  # the error of a perfect trial of 10,000 images counts as half a wrong one
    functions = (lambda accuracy: -np.log10(np.maximum(1 - accuracy, least)), lambda order: 1 - 10.0**-order)
    high = min(high, 1 - least)
    return FuncNorm(functions, min(low, high - least), high)


def parallel(study: optuna.Study, names: list[str], look: Contour) -> tuple[Figure, Axes]:
    """Optuna's parallel coordinates: a line for each trial, through its parameters, in the colour of its accuracy."""
    with warnings.catch_warnings():
        # It has been "experimental" since 2020: nothing that a user could act on.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Without a target of its own it knows that more is better, and draws good trials darkest.
        ax = plot_parallel_coordinate(study, params=names, target_name="accuracy")
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.set_size_inches(look.width, look.width / GOLDEN_RATIO)
    for each in figure.axes:
        label(each.yaxis)
        for text in each.get_yticklabels(which="both"):  # they lie on dark lines
            text.set_bbox({"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.5})
    return figure, ax


def limit(ax: Axes, within: tuple[Searched, Searched]) -> None:
    """Axes that are those of the search: they end where it ends, in its scale; or have its choices, in its order."""
    for name, searched in zip("xy", within, strict=True):
        if isinstance(searched, Interval):
            scale = "log" if searched.log else "linear"
            ax.set(**{f"{name}scale": scale, f"{name}lim": (searched.low, searched.high)})
        else:
            ax.set(**{f"{name}scale": "linear", f"{name}lim": (-0.5, len(searched) - 0.5)})
            getattr(ax, f"{name}axis").update_units(searched)


def optimizer(told: Parameters) -> str:
    """What a training run is told of it, for a title."""
    return f"{told['optimizer']}, learning rate {told['lr']:g}"


def label(axis: Axis) -> None:
    """Plain numbers along an axis; on a logarithmic one at 1, 2 and 5 of every decade, within one at all ticks."""
    if axis.have_units():  # choices, which label themselves
        return
    axis.set_major_formatter("{x:g}")
    if axis.get_scale() == "log":
        low, high = axis.get_view_interval()
        if high < 10 * low:
            axis.set_minor_formatter("{x:g}")
        else:
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_minor_locator(NullLocator())


def legend(ax: Axes, columns: int = 4, below: float = 0.11) -> None:
    """Below the axes, by a fraction of their height: within them it would hide trials."""
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -below), ncols=columns, frameon=False)


def mark(ax: Axes, normalizations: Mapping[str, Norm], size: float) -> None:
    """The normalizations that everything is compared with, hollow, so that they hide no trial.

    size: area of a marker, in points squared
    """
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    for name, marker in MARKED.items():
        if name in normalizations:
            (mean, *_), (std, *_) = normalizations[name].mean, normalizations[name].std
            if left <= mean <= right and low <= std <= high:
                mark_point(ax, mean, std, f"{name} ({mean:.4g}, {std:.4g})", size, marker)


def mark_point(ax: Axes, x: float | str, y: float | str, name: str, size: float, marker: str = "*") -> None:
    ax.scatter(x, y, s=size, marker=marker, facecolors="none", edgecolors="red", linewidths=1.2, zorder=3, label=name)


def save(figure: Figure, path: Path, dpi: int) -> None:
    """As PNG, the same bytes for the same picture: without the version of matplotlib."""
    if figure.get_layout_engine() is None:
        figure.tight_layout()
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=dpi, metadata={"Software": None})
    files.write_bytes(path, image.getvalue())


def _interpolate(
    ax: Axes, x: np.ndarray, y: np.ndarray, accuracy: np.ndarray, learned: np.ndarray, colors: dict[str, Any]
) -> None:
    """Colours the triangles between neighbouring trials all of which learned."""
    ax.get_xlim(), ax.get_ylim()  # final only once they are asked for
    on_screen = ax.transScale + ax.transLimits
    try:
        surface = LinearNDInterpolator(
            on_screen.transform(np.column_stack([x, y])), np.where(learned, accuracy, np.nan)
        )
    except QhullError:  # all on one line
        return
    pixels = np.stack(np.meshgrid(*[np.linspace(0, 1, PIXELS)] * 2), axis=-1).reshape(-1, 2)
    xs, ys = on_screen.inverted().transform(pixels).T.reshape(2, PIXELS, PIXELS)
    ax.pcolormesh(xs, ys, surface(pixels).reshape(PIXELS, PIXELS), **colors)
