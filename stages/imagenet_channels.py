"""Stage `imagenet_channels`: a published network under all six numbers, mean and std of red, green and blue."""

from pathlib import Path

from stages.evidence import figures
from stages.evidence.search import run_search
from stages.settings.params import Params
from stages.study import store
from stages.vision.trial import ImagenetTrial


def main(settings: Params) -> None:
    """Writes plots/imagenet_channels.png: a line for each trial, through its six numbers."""
    search = settings.imagenet.channels
    trials = run_search("imagenet_channels", settings, search, ImagenetTrial, {"treated": 1})
    study = store.in_memory(trials)  # of these settings alone
    figure, ax = figures.parallel(study, list(search.space.axes()), settings.contour)
    ax.set_title(f"A published {settings.imagenet.arch} as it is: accuracy of {len(trials)} trials")
    figures.save(figure, Path("plots/imagenet_channels.png"), settings.contour.dpi)
