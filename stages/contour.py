"""Stage `contour`: the sweep as a map of accuracy over (mean, std)."""

from pathlib import Path

from stages.common import files, tables
from stages.evidence import drawings, figures, judgement
from stages.evidence.drawings import Shown
from stages.settings.params import SWEEP, Figure, Params

TITLE = "LeNet on MNIST: test accuracy by the normalization of the input"


def main(settings: Params) -> None:
    pixels = files.read_json(Path("metrics/statistics.json"))["train"]
    with judgement.whole(tables.path(SWEEP), "`dvc repro sweep` makes it"):
        sweep = Shown(SWEEP, "search", tables.read(SWEEP), {}, settings.rule.of(SWEEP), settings.sweep.space)
        drawn = drawings.draw(Figure(kind="map", studies=[SWEEP], title=TITLE), {SWEEP: sweep}, settings, pixels)
    figures.save(drawn, Path("plots/contour.png"), settings.look.dpi)
