"""Stage `trials`: the study of that name in params.yaml, as `python -m stages trials NAME`: its table, nothing else."""

from importlib import import_module
from pathlib import Path
from typing import get_args

from stages.common import tables
from stages.common.errors import InputError
from stages.settings.params import PATH, SWEEP, Params, Study, Treatment
from stages.study import design, runner
from stages.study.proposals import Search


def main(settings: Params, name: str) -> None:
    study, settings = settings.studies[name], settings.of(name)
    trial = _class(study)
    _check_reads(settings, name, study.trial.reads)
    if study.search:
        runner.run_search(name, settings, Search(study.search, design.fixed(settings, study)), trial)
    elif planned := _planned(settings, study):
        runner.run_points(name, settings, planned, trial)
    else:
        raise InputError(f"{PATH}: studies.{name}.sweep_trials: the sweep has no such trial")


def _check_reads(settings: Params, name: str, reads: str) -> None:
    """raises: InputError if DVC would not see that a folder of photographs has changed"""
    data = settings.imagenet.data
    if settings.studies[name].trial.settings == "imagenet" and data != "samples" and Path(reads) != Path(data):
        raise InputError(f"{PATH}: studies.{name}.trial.reads = {reads!r}; accepted: {data!r}, as imagenet.data")


def _class(study: Study) -> type:
    """The class of its trials, imported only now: another network's need not be there."""
    module = f"stages.{study.trial.code}.trial"
    try:
        return getattr(import_module(module), study.trial.name)
    except (ModuleNotFoundError, AttributeError):
        raise InputError(f"{PATH}: trial {study.trial.name!r}: no such class in {module}") from None


def _planned(settings: Params, study: Study) -> list[design.Planned]:
    if study.sweep_trials:
        return design.again(settings, study, tables.last_epochs(tables.read(SWEEP)))
    own, treatments = None, len(get_args(Treatment))
    if study.seeds is None and study.trial.settings == "resnet":
        own = settings.resnet.norm
    elif study.seeds is None and study.trial.settings == "imagenet":
        images, model = import_module("stages.vision.images"), import_module("stages.vision.model")
        own = model.published(settings.imagenet.arch, settings.imagenet.weights).norm
        treatments -= not images.trains(settings.imagenet)  # the last one is fine-tuning
    return design.over_seeds(settings, study, design.points(settings, study, own, treatments))
