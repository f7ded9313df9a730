"""Stage `imagenet_sweep`: a published network under one mean and one std for all channels, as is and recalibrated."""

from pathlib import Path

import numpy as np
from optuna.trial import FrozenTrial

from stages.evidence import figures
from stages.evidence.search import run_search
from stages.settings.params import Params
from stages.study import store
from stages.vision import model
from stages.vision.trial import ImagenetTrial

DRAWN = {"accuracy": "as is", "accuracy_recalibrated": "recalibrated"}


def main(settings: Params) -> None:
    """Writes maps of accuracy, plots/imagenet_sweep_*.png: all in the same colours, so that they can be compared."""
    trials = run_search("imagenet_sweep", settings, settings.imagenet.sweep, ImagenetTrial)
    results = store.results(trials)
    accuracies = {treatment: np.array([each[key] for each in results]) for key, treatment in DRAWN.items()}
    together = np.concatenate([*accuracies.values()])
    limits = float(together.min()), float(together.max())
    for treatment, accuracy in accuracies.items():
        draw(trials, accuracy, treatment, settings, limits)


def draw(
    trials: list[FrozenTrial], accuracy: np.ndarray, treatment: str, settings: Params, limits: tuple[float, float]
) -> None:
    """limits: accuracies at the ends of the colours"""
    imagenet = settings.imagenet
    axes, own = imagenet.sweep.space.axes(), model.published(imagenet.arch, imagenet.weights).norm
    figure, ax = figures.accuracy_map(
        [trial.params["mean"] for trial in trials],
        [trial.params["std"] for trial in trials],
        accuracy,
        settings.contour,
        threshold=None,
        vmin=limits[0],
        vmax=limits[1],
        within=(axes["mean"], axes["std"]),
    )
    figures.mark_point(ax, float(np.mean(own.mean)), float(np.mean(own.std)), "its own", size=130)
    figures.legend(ax)
    ax.set(
        title=f"A published {imagenet.arch}, {treatment}: accuracy on {imagenet.test_images:,} photographs",
        xlabel="mean of all channels (pixels lie in [0, 1])",
        ylabel="standard deviation of all channels",
    )
    figures.save(figure, Path(f"plots/imagenet_sweep_{treatment.replace(' ', '_')}.png"), settings.contour.dpi)
