"""What all pictures share: scales, colors, marks and how they are saved."""

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import FuncNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from stages.common import files

GOLDEN_RATIO = (1 + math.sqrt(5)) / 2
TICKS = (0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995)
LABELS = {  # of axes, by the name of the parameter
    "mean": "mean: what is subtracted (pixels lie in [0, 1])",
    "std": "std: what the difference is divided by",
    "lr": "learning rate in the first epoch",
    **{f"{kind}_{color[0]}": f"{kind}, {color}" for kind in ("mean", "std") for color in ("red", "green", "blue")},
}
LEAST = 5e-5  # error that is drawn: that of a perfect trial of 10,000 images counts as half a wrong one
OFFSET = "distance from the mean of the pixels, in their standard deviations"
FACTOR = "std, in standard deviations of the pixels"
MARKED = {"standard": "*", "zero_one": "d", "none": "s"}  # normalizations that maps show, and their markers


def error_scale(low: float, high: float) -> FuncNorm:
    """Colours by the order of magnitude of the error: 0.97 and 0.98 differ as much as 0.5 and 0.67."""
    functions = (lambda accuracy: -np.log10(np.maximum(1 - accuracy, LEAST)), lambda order: 1 - 10.0**-order)
    high = min(high, 1 - LEAST)
    return FuncNorm(functions, min(low, high - LEAST), high)


def label(*axes: Axis) -> None:
    """Plain numbers along axes; on logarithmic ones at 1, 2 and 5 of every decade, within one at all ticks."""
    for axis in axes:
        axis.set_major_formatter("{x:g}")
        low, high = axis.get_view_interval()
        if axis.get_scale() == "log" and high < 10 * low:
            axis.set_minor_formatter("{x:g}")
        elif axis.get_scale() == "log":
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_minor_locator(NullLocator())


def legend(ax: Axes, columns: int) -> None:
    """Below the axes: within them it would hide trials."""
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=columns)


def written(number: float) -> str:
    return "1/255" if math.isclose(number, 1 / 255, rel_tol=1e-3) else f"{number:.4g}"


def pair(mean: float, std: float) -> str:
    return f"({written(mean)}, {written(std)})"


def mark(ax: Axes, name: str, numbers: tuple[float, float], place: tuple[float, float] | None = None) -> None:
    """A normalization by name, mean and std, hollow, so that it hides no trial; place: if it is not at its numbers."""
    style: dict[str, Any] = {"facecolors": "none", "edgecolors": "red", "linewidths": 1.2, "zorder": 3}
    label = f"{name} {pair(*numbers)}"
    ax.scatter(*(place or numbers), s=110, marker=MARKED.get(name, "o"), label=label, **style)


def in_stds(ax: Axes, pixels: Mapping[str, float]) -> None:
    """Second axes over (mean, std), in standard deviations of the pixels."""
    mean, std = pixels["mean"], pixels["std"]
    offset: Any = (lambda x: (x - mean) / std, lambda offset: mean + offset * std)
    factor: Any = (lambda y: y / std, lambda factor: factor * std)
    label(ax.secondary_xaxis("top", functions=offset, xlabel=OFFSET).xaxis)
    label(ax.secondary_yaxis("right", functions=factor, ylabel=FACTOR).yaxis)


def save(figure: Figure, path: Path, dpi: int) -> None:
    """As PNG, the same bytes for the same picture: without the version of matplotlib."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=dpi, metadata={"Software": None})
    files.write_bytes(path, image.getvalue())
