"""Stage `contour`: the study as a map of accuracy over (mean, std)."""

import csv
import io
import math
import warnings
from pathlib import Path
from typing import Any

import optuna
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from optuna.visualization.matplotlib import plot_contour

from stages import outputs, params, study

GOLDEN_RATIO = (1 + math.sqrt(5)) / 2
TICKS = (0.1, 0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.985, 0.99, 0.995)
# (mean, std): the values that everyone copies (pytorch/examples, commit 32c7386, January 2017), and pixels as they are.
MARKED = {"standard (0.1307, 0.3081)": (0.1307, 0.3081), "as they are (0, 1)": (0.0, 1.0)}


def main() -> None:
    # plot_contour has been "experimental" since 2020: nothing that a user could act on.
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    settings = params.load()
    figure = draw(read(Path("plots/trials.csv"), settings.sweep.space), settings.contour)
    image = io.BytesIO()
    figure.savefig(image, dpi=settings.contour.dpi, metadata={"Software": None})
    outputs.write_bytes(Path("plots/contour.png"), image.getvalue())


def read(path: Path, space: params.Space) -> optuna.Study:
    """The study that the table of trials describes: drawn from the table, the picture depends on the trials alone."""
    study_ = optuna.create_study(direction="maximize")
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            study_.add_trial(
                optuna.create_trial(
                    params={name: float(row[name]) for name in space.intervals()},
                    distributions=study.distributions(space.intervals()),
                    value=float(row["accuracy"]),
                )
            )
    return study_


def draw(trials: optuna.Study, look: params.Contour) -> Figure:
    """Optuna's contour plot of mean against std, on a scale that shows the differences between good trials too."""
    # Accuracies lie near 0.1 or between 0.97 and 0.99: on a scale of orders of magnitude of the error, both show.
    ax = plot_contour(
        trials, params=["mean", "std"], target=lambda trial: -error(trial.value or 0.0), target_name="accuracy"
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
    points = [(trial.params["mean"], trial.params["std"], -error(trial.value or 0.0)) for trial in trials.trials]
    means, stds, values = zip(*points, strict=True)
    ax.scatter(means, stds, c=values, cmap=look.colormap, norm=scale, s=24, edgecolors="black", zorder=2, label="trial")
    for bar in figure.axes[1:]:
        low, high = bar.get_ylim()
        ticks = [tick for tick in TICKS if low <= -error(tick) <= high]
        bar.set_yticks([-error(tick) for tick in ticks], [f"{tick:g}" for tick in ticks])
    for (label, (mean, std)), marker in zip(MARKED.items(), "*D", strict=True):
        ax.scatter(mean, std, marker=marker, s=130, color="red", edgecolors="white", zorder=3, label=label)
    ax.legend(loc="lower right", framealpha=0.9, facecolor="white")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set(title=f"LeNet on MNIST: test accuracy of {len(trials.trials)} trials, by the normalization of the input")
    ax.set(xlabel="mean (pixels lie in [0, 1])", ylabel="standard deviation")
    figure.tight_layout()
    return figure


def error(accuracy: float) -> float:
    """The order of magnitude of the error; the error of a perfect trial counts as 1 in 20,000."""
    return math.log10(max(1 - accuracy, 5e-5))


if __name__ == "__main__":
    main()
