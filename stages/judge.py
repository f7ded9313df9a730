"""Stage `judge`: what the tables of trials say, by the rule of params.yaml: metrics/studies/NAME.json of each study."""

from pathlib import Path

from stages.common import files, tables
from stages.evidence import judgement, law
from stages.settings.params import SWEEP, Params

FOLDER = Path("metrics/studies")
PIXELS = Path("metrics/statistics.json")


def main(settings: Params) -> None:
    """Studies whose table is not there are left out; metrics of studies that are gone are removed."""
    names = [name for name in (SWEEP, *settings.studies) if tables.path(name).exists()]
    for name in names:
        with judgement.whole(tables.path(name), f"`git restore {tables.path(name)}` brings back the committed one"):
            files.write_json(FOLDER / f"{name}.json", judged(name, settings))
    for path in FOLDER.glob("*.json"):
        if path.stem not in names:
            path.unlink()
    print(f"judge: {len(names)} studies", flush=True)


def judged(name: str, settings: Params) -> judgement.Metrics:
    rule, rows, study = settings.rule.of(name), tables.read(name), settings.studies.get(name)
    kind = judgement.kind(study)
    if study is None or study.search:
        search = (study and study.search) or settings.sweep
        return judgement.search(rows, list(search.space), rule)
    if kind == "again":
        return judgement.follow_up(rows, tables.last_epochs(tables.read(SWEEP)), rule)
    if kind == "seeds":
        if law.varied(rows) == {"mean", "lr"}:
            return law.law(rows, files.read_json(PIXELS)["train"], rule)
        images = settings.data.test_images if study.of_lenet else settings.resnet.scratch.test_images
        return judgement.comparison(rows, rule, images)
    images = settings.imagenet.test_images if study.trial.settings == "imagenet" else settings.resnet.test_images
    return judgement.treatments(rows, images, rule) if kind == "treatments" else judgement.photographs(rows[0], images)
