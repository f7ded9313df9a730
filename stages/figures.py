"""Stage `figures`: the figure of that name in params.yaml, as `python -m stages figures NAME`: plots/NAME.png."""

from pathlib import Path

from stages.common import files, tables
from stages.evidence import drawings, figures, judgement
from stages.evidence.drawings import Shown
from stages.settings.params import SWEEP, Params


def main(settings: Params, name: str) -> None:
    figure, pixels = settings.figures[name], files.read_json(Path("metrics/statistics.json"))["train"]
    shown = {study: _shown(study, settings) for study in figure.studies}
    with judgement.whole(f"a table or metrics file of {', '.join(shown)}", "`dvc repro judge` makes the metrics"):
        drawn = drawings.draw(figure, shown, settings, pixels)
    figures.save(drawn, Path(f"plots/{name}.png"), settings.look.dpi)


def _shown(name: str, settings: Params) -> Shown | None:
    metrics, study = Path(f"metrics/studies/{name}.json"), settings.studies.get(name)
    if not metrics.exists() or (study is None and name != SWEEP):
        return None
    search, judged = study.search if study else settings.sweep, files.read_json(metrics)
    kind, space, lenet = judgement.kind(study, judged), search.space if search else {}, not study or study.of_lenet
    return Shown(name, kind, tables.read(name), judged, settings.rule.of(name), space, lenet)
