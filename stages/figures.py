"""Stage `figures`: `python -m stages figures NAME` draws an entry of `figures` in params.yaml as plots/NAME.png."""

from pathlib import Path

from stages.evidence import drawings
from stages.settings.params import Params


def main(settings: Params, name: str) -> None:
    drawings.make(settings.figures[name], Path(f"plots/{name}.png"), settings)
