"""Stage `curves`: accuracy after each epoch, over seeds, and how the difference from standard goes on."""

from pathlib import Path

from stages.evidence import curves_figure, figures, tables
from stages.settings.params import Params


def main(settings: Params) -> None:
    figure = curves_figure.draw(tables.read(Path("plots/epochs.csv")), settings.rule)
    figures.save(figure, Path("plots/curves.png"), settings.contour.dpi)
