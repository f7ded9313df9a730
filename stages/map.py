"""Stage `map`: what each normalization of the plateau costs, with Adadelta and with SGD, and where training fails."""

import json
from pathlib import Path

from stages.evidence import boundary_figure, figures, plateau_figure
from stages.settings.params import Params

PANELS = ("plateau", "plateau_sgd")


def main(settings: Params) -> None:
    entries = [json.loads(Path(f"metrics/{name}.json").read_text()) for name in PANELS]
    pixels, rules = boundary_figure.read()
    figure = plateau_figure.draw(entries, settings, pixels, rules)
    figures.save(figure, Path("plots/map.png"), settings.contour.dpi)
