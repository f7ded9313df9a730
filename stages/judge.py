"""Stage `judge`: what the tables of trials say, by the rule of params.yaml: metrics/studies/NAME.json of each study."""

from stages.common import files, tables
from stages.evidence import judgement
from stages.settings.params import Params


def main(settings: Params) -> None:
    """Studies whose table is not there are left out; metrics of studies that are gone are removed."""
    names = [name for name in settings.studies if tables.path(name).exists()]
    for name in names:
        with files.whole(tables.path(name)):
            files.write_json(judgement.path(name), judgement.judge(name, settings))
    for path in judgement.FOLDER.glob("*.json"):
        if path.stem not in names:
            path.unlink()
    print(f"judge: {len(names)} studies", flush=True)
