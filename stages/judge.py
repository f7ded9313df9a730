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
        files.write_json(FOLDER / f"{name}.json", judged(name, settings))
    for path in FOLDER.glob("*.json"):
        if path.stem not in names:
            path.unlink()
    print(f"judge: {len(names)} studies", flush=True)


def judged(name: str, settings: Params) -> judgement.Metrics:
    rule, rows = settings.rule.of(name), tables.read(name)
    if name == SWEEP:
        return judgement.search(rows, list(settings.sweep.space), rule)
    study = settings.studies[name]
    if study.search:
        return judgement.search(rows, list(study.search.space), rule)
    if study.sweep_trials:
        return judgement.follow_up(rows, tables.last_epochs(tables.read(SWEEP)), rule)
    if study.seeds is not None:
        images = settings.data.test_images if study.of_lenet else settings.resnet.scratch.test_images
        return judgement.comparison(rows, rule, images)
    images = settings.imagenet.test_images if study.trial.settings == "imagenet" else settings.resnet.test_images
    if study.normalizations or study.points or study.grid:
        return judgement.treatments(rows, images, rule)
    return judgement.photographs(rows[0], images)
