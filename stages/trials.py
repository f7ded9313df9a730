"""Stage `trials`: the study of that name in params.yaml, as `python -m stages trials NAME`: its table, nothing else."""

from importlib import import_module
from pathlib import Path
from typing import get_args

from stages.common.errors import InputError
from stages.settings.params import PATH, Params, Treatment
from stages.study import design, runner
from stages.study.proposals import Plan, Points, Search


def main(settings: Params, name: str) -> None:
    settings = settings.for_study(name)
    runner.run(name, settings, *planned(settings, name))


def planned(settings: Params, name: str) -> tuple[Plan, type]:
    """Which trials there are, and the class that evaluates them, imported by name: what others need may be missing."""
    study, data = settings.studies[name], settings.imagenet.data
    kind, module = study.trial, f"stages.{study.trial.code}.trial"
    try:
        trial = getattr(import_module(module), kind.name)
    except (ModuleNotFoundError, AttributeError):
        raise InputError(f"{PATH}: trial {kind.name!r}: no such class in {module}") from None
    if kind.settings == "imagenet" and data != "samples" and Path(kind.reads) != Path(data):
        # DVC would not see that the folder of photographs has changed.
        raise InputError(f"{PATH}: studies.{name}.trial.reads = {kind.reads!r}; accepted: {data!r}, as imagenet.data")
    if study.search:
        return Search(study.search, design.fixed(settings, study)), trial
    own, treatments = settings.resnet.norm, len(get_args(Treatment))
    if kind.settings == "imagenet":
        images, model = import_module("stages.vision.images"), import_module("stages.vision.model")
        own = model.published(settings.imagenet.arch, settings.imagenet.weights).norm
        treatments -= not images.trains(settings.imagenet)  # the last one is fine-tuning
    return Points(design.over_seeds(study, design.points(settings, study, own, treatments))), trial
