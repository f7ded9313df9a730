"""Stage `figures`: the figure of that name in params.yaml, as `python -m stages figures NAME`: plots/NAME.png."""

from pathlib import Path

from stages.common import files, tables
from stages.evidence import drawings, figures
from stages.evidence.drawings import Shown
from stages.settings.params import Params, free


def main(settings: Params, name: str) -> None:
    figure = settings.figures[name]
    shown = {study: _shown(study, settings) for study in figure.studies}
    drawn = drawings.draw(figure.kind, figure.title, shown, settings)
    figures.save(drawn, Path(f"plots/{name}.png"), settings.contour.dpi)


def _shown(name: str, settings: Params) -> Shown | None:
    metrics = Path(f"metrics/studies/{name}.json")
    if name not in settings.studies or not metrics.exists():
        return None
    study = settings.studies[name]
    space = study.search.space if study.search else None
    marked = study.of_lenet and space is not None and free(space) == ["mean", "std"]
    return Shown(name, tables.read(name), files.read_json(metrics), settings.rule.of(name), space, marked)
