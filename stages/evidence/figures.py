"""What all pictures share: scales, colours, marks and how they are saved."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import FuncNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from stages.common import files
from stages.common.normalization import Normalization
from stages.settings.params import Axis as Searched
from stages.settings.params import Interval, Look, Parameters

GOLDEN_RATIO = (1 + math.sqrt(5)) / 2
TICKS = (0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995)
LABELS = {  # of axes, by the name of the parameter
    "mean": "mean: what is subtracted (pixels lie in [0, 1])",
    "std": "std: what is divided by (same unit)",
    "weight_factor": "initial weights of the first convolution, times",
    "bias_factor": "initial biases of the first convolution, times",
    "lr": "learning rate in the first epoch",
    "init": "initial weights",
    **{
        f"{kind}_{key}": f"{kind}, {color}"
        for kind in ("mean", "std")
        for key, color in zip("rgb", ("red", "green", "blue"), strict=True)
    },
}
MARKED = {"standard": "*", "zero_one": "d", "none": "s"}  # normalizations that maps show, and their markers
Values = Sequence[float] | Sequence[str] | np.ndarray


def accuracy_map(
    figure: Figure,
    ax: Axes,
    x: Values,
    y: Values,
    accuracy: np.ndarray,
    look: Look,
    threshold: float,
    within: tuple[Searched, Searched],
) -> None:
    """Trials over two parameters: those that learned in the colour of their accuracy, those that died as crosses.

    x, y:      parameters of the trials (n,): numbers, or choices
    accuracy:  fractions (n,)
    threshold: trials have learned if their accuracy is above this
    within:    where the parameters were searched: there the axes end, with scales as in the search
    """
    x, y, learned = np.array(x), np.array(y), accuracy > threshold
    limit(ax, dict(zip("xy", within, strict=True)))
    style: dict[str, Any] = {"clip_on": False, "zorder": 2}  # a trial at the edge is whole
    if not learned.all():
        label_died = f"accuracy up to {threshold:g} ({(~learned).sum()})"
        ax.scatter(x[~learned], y[~learned], s=20, c="tab:gray", marker="x", label=label_died, **style)
    if learned.any():
        shown = accuracy[learned]
        # A tenth of the trials may lie below the scale: else a few bad ones would take all of its colours.
        low, high = float(np.quantile(shown, 0.1)), float(shown.max())
        style |= {
            "s": 30,
            "edgecolors": "black",
            "linewidths": 0.4,
            "label": f"{'learned' if threshold else 'trials'} ({learned.sum()})",
        }
        points = ax.scatter(x[learned], y[learned], c=shown, cmap=look.colormap, norm=error_scale(low, high), **style)
        bar = figure.colorbar(points, ax=ax, label="test accuracy", extend="min" if shown.min() < low else "neither")
        ticks = [tick for tick in TICKS if low <= tick <= high]
        bar.set_ticks(ticks if len(ticks) > 1 else [low, high])
        bar.ax.yaxis.set_major_formatter("{x:.4g}")
    for axis in (ax.xaxis, ax.yaxis):
        label(axis)


def error_scale(low: float, high: float) -> FuncNorm:
    """Colours by the order of magnitude of the error: 0.97 and 0.98 differ as much as 0.5 and 0.67."""
    least = 5e-5  # the error of a perfect trial of 10,000 images counts as half a wrong one
    functions = (lambda accuracy: -np.log10(np.maximum(1 - accuracy, least)), lambda order: 1 - 10.0**-order)
    high = min(high, 1 - least)
    return FuncNorm(functions, min(low, high - least), high)


def limit(ax: Axes, within: Mapping[str, Searched]) -> None:
    """Axes (x, y) that are those of the search: they end where it ends, in its scale; or have its choices, in order."""
    for name, searched in within.items():
        if isinstance(searched, Interval):
            scale = "log" if searched.log else "linear"
            ax.set(**{f"{name}scale": scale, f"{name}lim": (searched.low, searched.high)})
        elif isinstance(searched, list):
            ax.set(**{f"{name}scale": "linear", f"{name}lim": (-0.5, len(searched) - 0.5)})
            getattr(ax, f"{name}axis").update_units(searched)


def protocol(parameters: Parameters) -> str:
    """How a training run of LeNet was trained, for a title."""
    epochs = int(parameters["epochs"])
    rate = f", learning rate {parameters['lr']:g}" if "lr" in parameters else ""
    return f"{parameters['optimizer']}{rate}, {epochs} epoch{'s' if epochs > 1 else ''}"


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


def legend(ax: Axes, columns: int = 5, below: float = 0.11) -> None:
    """Below the axes, by a fraction of their height: within them it would hide trials."""
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -below), ncols=columns, frameon=False)


def mark(ax: Axes, normalizations: Mapping[str, Normalization], size: float) -> None:
    """The normalizations that everything is compared with, hollow, so that they hide no trial.

    size: area of a marker, in points squared
    """
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    for name, marker in MARKED.items():
        if name in normalizations:
            (mean, *_), (std, *_) = normalizations[name].mean, normalizations[name].std
            if left <= mean <= right and low <= std <= high:
                style: dict[str, Any] = {"facecolors": "none", "edgecolors": "red", "linewidths": 1.2, "zorder": 3}
                ax.scatter(mean, std, s=size, marker=marker, label=f"{name} ({mean:.4g}, {std:.4g})", **style)


def save(figure: Figure, path: Path, dpi: int) -> None:
    """As PNG, the same bytes for the same picture: without the version of matplotlib."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=dpi, metadata={"Software": None})
    files.write_bytes(path, image.getvalue())
