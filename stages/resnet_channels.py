"""Stage `resnet_channels`: a trained ResNet under all six numbers, mean and std of red, green and blue."""

from pathlib import Path

import optuna

from stages.evidence import figures
from stages.evidence.search import run_search
from stages.settings.params import Params
from stages.vision.trial import TreatmentTrial


def main(settings: Params) -> None:
    """Writes plots/resnet_channels.png: a line for each trial, through its six numbers."""
    search = settings.resnet.channels
    trials = run_search("resnet_channels", settings, search, TreatmentTrial)
    study = optuna.create_study(direction="maximize")  # in memory, of the trials of these settings alone
    study.add_trials(trials)
    figure, ax = figures.parallel(study, list(search.space.axes()), settings.contour)
    ax.set_title(f"A trained {settings.resnet.arch} as it is: accuracy of {len(trials)} trials")
    figures.save(figure, Path("plots/resnet_channels.png"), settings.contour.dpi)
