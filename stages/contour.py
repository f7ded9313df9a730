"""Stage `contour`: the sweep as a map of accuracy over (mean, std)."""

from pathlib import Path

from stages.common import tables
from stages.evidence import drawings
from stages.settings.params import SWEEP, Figure, Params


def main(settings: Params) -> None:
    tables.read(SWEEP)  # an error if the table is missing, instead of an empty picture
    figure = Figure(kind="map", studies=[SWEEP], title="LeNet on MNIST: a search for the best normalization")
    drawings.make(figure, Path("plots/contour.png"), settings)
