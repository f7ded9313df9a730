"""Stage `resnet_sweep`: a trained ResNet under one mean and one std for all channels, as it is and recalibrated."""

from pathlib import Path

import numpy as np
from optuna.trial import FrozenTrial

from stages.evidence import figures
from stages.evidence.search import run_search
from stages.settings.params import Params
from stages.study import store
from stages.vision.trial import TreatmentTrial

DRAWN = {"accuracy": "as it is", "accuracy_recalibrated": "recalibrated"}


def main(settings: Params) -> None:
    """Writes maps of accuracy, plots/resnet_sweep_*.png: all in the same colours, so that they can be compared."""
    trials = run_search("resnet_sweep", settings, settings.resnet.sweep, TreatmentTrial)
    results = store.results(trials)
    accuracies = {treatment: np.array([each[key] for each in results]) for key, treatment in DRAWN.items()}
    together = np.concatenate([*accuracies.values()])
    learned = together[together > settings.region.threshold]  # those that have a colour
    limits = float(learned.min(initial=1)), float(learned.max(initial=0))
    for treatment, accuracy in accuracies.items():
        draw(trials, accuracy, treatment, settings, limits)


def draw(
    trials: list[FrozenTrial], accuracy: np.ndarray, treatment: str, settings: Params, limits: tuple[float, float]
) -> None:
    """limits: accuracies at the ends of the colours"""
    axes, own = settings.resnet.sweep.space.axes(), settings.resnet.norm
    figure, ax = figures.accuracy_map(
        [trial.params["mean"] for trial in trials],
        [trial.params["std"] for trial in trials],
        accuracy,
        settings.contour,
        settings.region.threshold,
        vmin=limits[0],
        vmax=limits[1],
        within=(axes["mean"], axes["std"]),
    )
    figures.mark_point(ax, float(np.mean(own.mean)), float(np.mean(own.std)), "its own", size=130)
    figures.legend(ax)
    ax.set(
        title=f"A trained {settings.resnet.arch}, {treatment}: accuracy of {len(trials)} trials",
        xlabel="mean of all channels (pixels lie in [0, 1])",
        ylabel="standard deviation of all channels",
    )
    figures.save(figure, Path(f"plots/resnet_sweep_{treatment.replace(' ', '_')}.png"), settings.contour.dpi)
