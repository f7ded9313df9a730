"""Stage `curves`: accuracy after each epoch, over seeds, and how the difference from standard goes on."""

from pathlib import Path

from stages.common import files
from stages.evidence import curves_figure, figures, tables
from stages.settings.params import Params

PANELS = ("epochs", "epochs_sgd")


def main(settings: Params) -> None:
    told = [files.read_json(Path(f"metrics/{name}.json"))["standard"]["parameters"] for name in PANELS]
    entries = [tables.read(Path(f"plots/{name}.csv")) for name in PANELS]
    figure = curves_figure.draw(list(map(figures.optimizer, told)), entries, settings)
    figures.save(figure, Path("plots/curves.png"), settings.contour.dpi)
