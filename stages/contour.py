"""Stage `contour`: the study as a map of accuracy over (mean, std)."""

from pathlib import Path

from stages.evidence import boundary_figure, figures, tables
from stages.settings.params import Params


def main(settings: Params) -> None:
    trials = tables.read(Path("plots/sweep.csv"))
    mean, std, accuracy = (tables.numbers(trials, column) for column in ("mean", "std", "accuracy"))
    within, threshold = (settings.sweep.space.mean, settings.sweep.space.std), settings.region.threshold
    figure, ax = figures.accuracy_map(mean, std, accuracy, settings.contour, threshold, *figures.SCALE, within=within)
    pixels, rules = boundary_figure.read()
    boundary_figure.shade(ax, rules, pixels, settings.sweep.space.std)
    figures.mark(ax, settings.normalizations, size=130)
    figures.legend(ax, columns=3)
    ax.set(title=f"LeNet on MNIST: test accuracy of {len(trials)} trials, by the normalization of the input")
    ax.set(xlabel=figures.LABELS["mean"], ylabel=figures.LABELS["std"])
    figures.save(figure, Path("plots/contour.png"), settings.contour.dpi)
