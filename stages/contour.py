"""Stage `contour`: the sweep as a map of accuracy over (mean, std)."""

from pathlib import Path

from stages.common import tables
from stages.evidence import drawings, figures
from stages.evidence.drawings import Shown
from stages.settings.params import SWEEP, Params, free


def main(settings: Params) -> None:
    rows = tables.last_epochs(tables.read(SWEEP))
    space = settings.sweep.space
    sweep = Shown(SWEEP, rows, {}, settings.rule.of(SWEEP), space, marked=free(space) == ["mean", "std"])
    title = "LeNet on MNIST: test accuracy by the normalization of the input"
    figures.save(drawings.draw("map", title, {SWEEP: sweep}, settings), Path("plots/contour.png"), settings.contour.dpi)
