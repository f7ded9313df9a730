"""Stage `contour`: the study as a map of accuracy over (mean, std)."""

from pathlib import Path

from stages.evidence import figures, tables
from stages.settings.params import Params


def main(settings: Params) -> None:
    trials = tables.read(Path("plots/sweep.csv"))
    mean, std, accuracy = (tables.numbers(trials, column) for column in ("mean", "std", "accuracy"))
    within = settings.sweep.space.mean, settings.sweep.space.std
    figure, ax = figures.accuracy_map(mean, std, accuracy, settings.contour, settings.region.threshold, within=within)
    figures.mark(ax, settings.normalizations, size=130)
    figures.legend(ax)
    ax.set(title=f"LeNet on MNIST: test accuracy of {len(trials)} trials, by the normalization of the input")
    ax.set(xlabel=figures.LABELS["mean"], ylabel=figures.LABELS["std"])
    figures.save(figure, Path("plots/contour.png"), settings.contour.dpi)
