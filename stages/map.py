"""Stage `map`: what each normalization of the plateau costs, with Adadelta and with SGD, and where training fails."""

from pathlib import Path

from stages.common import files
from stages.evidence import boundary_figure, figures, plateau_figure
from stages.settings.params import Params

PANELS = ("plateau", "plateau_sgd")


def main(settings: Params) -> None:
    entries = [files.read_json(Path(f"metrics/{name}.json")) for name in PANELS]
    pixels, rules = boundary_figure.read()
    figure = plateau_figure.draw(entries, settings, pixels, rules)
    figures.save(figure, Path("plots/map.png"), settings.contour.dpi)
