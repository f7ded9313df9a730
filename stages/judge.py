"""Stage `judge`: what the tables of trials say, by the rule of params.yaml: metrics/studies/NAME.json of each study."""

from pathlib import Path

from stages.common import files, tables
from stages.evidence import judgement
from stages.settings.params import SWEEP, Params

FOLDER = Path("metrics/studies")


def main(settings: Params) -> None:
    """Studies whose table is not there are left out; metrics of studies that are gone are removed."""
    names = [name for name in (SWEEP, *settings.studies) if tables.path(name).exists()]
    for name in names:
        with judgement.whole(tables.path(name)):
            files.write_json(FOLDER / f"{name}.json", judgement.judge(name, settings))
    for path in FOLDER.glob("*.json"):
        if path.stem not in names:
            path.unlink()
    print(f"judge: {len(names)} studies", flush=True)
