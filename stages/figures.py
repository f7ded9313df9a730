"""Stage `figures`: `python -m stages figures NAME` draws an entry of `figures` in params.yaml as plots/NAME.png."""

from pathlib import Path

from stages.common import files
from stages.evidence import drawings
from stages.settings.params import Params


def main(settings: Params, name: str) -> None:
    figure = settings.figures[name]
    paths = {study: Path(f"metrics/studies/{study}.json") for study in figure.studies}
    metrics = {study: files.read_json(path) for study, path in paths.items() if path.exists()}
    drawings.make(figure, Path(f"plots/{name}.png"), metrics, settings)
