"""Stage `figures`: `python -m stages figures NAME` draws an entry of `figures` in params.yaml as plots/NAME.png."""

from pathlib import Path

from stages.evidence import drawings, judgement
from stages.settings.params import Params


def main(settings: Params, name: str) -> None:
    figure = settings.figures[name]
    drawings.make(figure, Path(f"plots/{name}.png"), judgement.read(figure.studies), settings)
