"""Stage `judge`: what the tables of trials say, by the rule of params.yaml: metrics/studies/NAME.json of each study."""

from pathlib import Path

from stages.common import files, tables
from stages.evidence import judgement, law
from stages.settings.params import SWEEP, Params

FOLDER = Path("metrics/studies")


def main(settings: Params) -> None:
    """Studies whose table is not there are left out; metrics of studies that are gone are removed."""
    names = [name for name in (SWEEP, *settings.studies) if tables.path(name).exists()]
    for name in names:
        table = tables.path(name)
        with judgement.whole(table, f"`git restore {table}` brings back the committed one"):
            files.write_json(FOLDER / f"{name}.json", judged(name, settings))
    for path in FOLDER.glob("*.json"):
        if path.stem not in names:
            path.unlink()
    print(f"judge: {len(names)} studies", flush=True)


def judged(name: str, settings: Params) -> judgement.Metrics:
    rule, table, study = settings.rule.for_study(name), tables.read(name), settings.studies.get(name)
    if study is None or study.search:
        search = (study and study.search) or settings.sweep
        return judgement.search(table, list(search.space), rule)
    if study.seeds is not None:
        if law.varied(table) == {"mean", "lr"}:
            return law.law(table, files.read_json(Path("metrics/statistics.json"))["train"], rule)
        digits = settings.data if study.of_lenet else settings.resnet.scratch
        return judgement.comparison(table, rule, digits.test_images)
    images = getattr(settings, study.trial.settings).test_images
    if judgement.kind(study) == "treatments":
        return judgement.treatments(table, images, rule)
    return judgement.photographs(table, images)
