"""Stage `contour`: the sweep as a map of accuracy over (mean, std)."""

from pathlib import Path

from stages.common import tables
from stages.evidence import drawings
from stages.settings.params import SWEEP, Figure, Params

TITLE = "LeNet on MNIST: a search for the best normalization"


def main(settings: Params) -> None:
    tables.read(SWEEP)  # an error if the table is missing, instead of an empty picture
    drawings.make(Figure(kind="map", studies=[SWEEP], title=TITLE), Path("plots/contour.png"), settings)
