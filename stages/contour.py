"""Stage `contour`: the sweep as a map of accuracy over (mean, std)."""

from pathlib import Path

from stages.common import files, tables
from stages.evidence import drawings, judgement
from stages.settings.params import SWEEP, Figure, Params


def main(settings: Params) -> None:
    """It judges the sweep itself: a map of the sweep alone need not wait for all studies."""
    figure = Figure(kind="map", studies=[SWEEP], title="LeNet on MNIST: a search for the best normalization")
    with files.whole(tables.path(SWEEP)):
        metrics = judgement.judge(SWEEP, settings)
    drawings.make(figure, Path("plots/contour.png"), {SWEEP: metrics}, settings)
