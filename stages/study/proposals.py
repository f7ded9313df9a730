"""The two plans of a study: a search, in which a sampler proposes trials, and given points.

The trials of a search depend on its settings alone, not on the number of workers, their speed, or interruptions:

- They are proposed in batches of fixed size, each by a new sampler from the seed, the batch's number and the completed
  trials before it, in order: no restart could restore the random state of an old one.
- Proposals are rounded before they are evaluated, so the table has what was evaluated.
"""

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import get_args

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial
from scipy.stats import qmc

from stages.common.errors import InputError
from stages.settings import params
from stages.settings.params import Parameters
from stages.study import design, store
from stages.study.design import Planned
from stages.study.fingerprint import Trial

# Optuna requires the same choices in all trials of a study.
CHOICES = {"optimizer": get_args(params.Optimizer), "init": get_args(params.Init), "shuffle": (False, True)}


class Search:
    """Trials that a sampler proposes; fixed: the parameters that they share, except those of the space"""

    def __init__(self, settings: params.Search, fixed: Parameters):
        self.settings, self.total = settings, settings.n_trials
        self.fixed = {name: value for name, value in fixed.items() if name not in settings.space}
        axes = settings.space.items()
        self.space = {name: FloatDistribution(axis.low, axis.high, bool(axis.log)) for name, axis in axes}

    @property
    def determinants(self) -> dict[str, dict]:
        """The settings that determine the trials."""
        space = {name: {"low": axis.low, "high": axis.high, "log": axis.log} for name, axis in self.space.items()}
        search = self.settings.model_dump(include={"sampler", "seed", "batch"}) | {"space": space}
        return {"search": search} | ({"train": self.fixed} if self.fixed else {})

    def trials(self, study: optuna.Study) -> list[FrozenTrial]:
        """The trials of the plan that the study has, in order."""
        return study.get_trials(deepcopy=False)[: self.total]

    def rows(self, study: optuna.Study) -> list[Planned]:
        """As `trials`, with all parameters."""
        proposed = ({axis: trial.params[axis] for axis in self.space} for trial in self.trials(study))
        return [Planned("", of_trial | self.fixed) for of_trial in proposed]

    def batches(self, study: optuna.Study) -> Iterator[list[FrozenTrial]]:
        """Batch by batch, the trials without a result; all need one before the next batch is proposed."""
        for start in range(0, self.total, self.settings.batch):
            stop, trials = min(start + self.settings.batch, self.total), self.trials(study)
            if len(trials) < stop:
                for proposal in self._proposals(trials[:start])[len(trials) - start : stop - start]:
                    store.add(study, proposal, self.space)
            if lacking := [trial for trial in self.trials(study)[start:stop] if not store.has_result(trial)]:
                yield lacking

    def _proposals(self, before: Sequence[FrozenTrial]) -> list[Parameters]:
        """The parameters of the next batch; before: the completed trials"""
        points = self._sobol(len(before)) if self.settings.sampler == "qmc" else self._asked(before)
        return [{name: _rounded(point[name], axis) for name, axis in self.space.items()} for point in points]

    def _asked(self, before: Sequence[FrozenTrial]) -> list[dict[str, float]]:
        """The proposals of a new Optuna sampler, with a separate seed for each batch."""
        batch = len(before) // self.settings.batch
        seed = int(np.random.SeedSequence((self.settings.seed, batch)).generate_state(1)[0])
        samplers = optuna.samplers
        kinds = {"tpe": samplers.TPESampler, "random": samplers.RandomSampler, "gp": samplers.GPSampler}
        torch.set_num_threads(1)  # their number changes the rounding in Optuna's Gaussian process
        study = optuna.create_study(direction="maximize", sampler=kinds[self.settings.sampler](seed=seed))
        study.add_trials(before)
        return [study.ask(dict(self.space)).params for _ in range(self.settings.batch)]

    def _sobol(self, start: int) -> Iterator[dict[str, float]]:
        """A batch of a scrambled Sobol sequence, from the point number `start` on."""
        stop, sequence = start + self.settings.batch, qmc.Sobol(len(self.space), seed=self.settings.seed)
        for point in sequence.random_base2((stop - 1).bit_length())[start:stop]:  # a share of each axis
            yield {name: _at(axis, share) for (name, axis), share in zip(self.space.items(), point, strict=True)}


class Points:
    """Trials at given points, with all parameters. The study may have trials at other points too."""

    def __init__(self, planned: Sequence[Planned]):
        self.planned, self.total = planned, len(planned)
        self.fixed: Parameters = {}
        self.determinants: dict[str, dict] = {}

    def trials(self, study: optuna.Study) -> list[FrozenTrial]:
        """The trials of the plan that the study has, in the order of the plan."""
        known = {frozenset(trial.params.items()): trial for trial in study.get_trials(deepcopy=False)}
        return [known[key] for _, parameters in self.planned if (key := frozenset(parameters.items())) in known]

    def rows(self, study: optuna.Study) -> Sequence[Planned]:
        return self.planned

    def batches(self, study: optuna.Study) -> Iterator[list[FrozenTrial]]:
        """All trials without a result, in one batch; missing ones are first added to the study."""
        known = {frozenset(trial.params.items()) for trial in study.get_trials(deepcopy=False)}
        for _, parameters in self.planned:
            if (key := frozenset(parameters.items())) not in known:
                known.add(key)
                store.add(study, parameters, {name: _constant(name, value) for name, value in parameters.items()})
        if lacking := {trial.number: trial for trial in self.trials(study) if not store.has_result(trial)}:
            yield list(lacking.values())


Plan = Search | Points


def planned(settings: params.Params, name: str) -> tuple[Plan, type[Trial]]:
    """The plan of a study, and the class of its trials, imported by name: what other classes need may be missing."""
    study, data = settings.studies[name], settings.imagenet.data
    kind, module = study.trial, f"stages.{study.trial.code}.trial"
    try:
        trial = getattr(import_module(module), kind.name)
    except (ModuleNotFoundError, AttributeError):
        raise InputError(f"{params.PATH}: trial {kind.name!r}: no such class in {module}") from None
    if kind.settings == "imagenet" and data != "samples" and Path(kind.reads) != Path(data):
        # DVC would not see that the folder of photographs has changed.
        said = f"{params.PATH}: studies.{name}.trial.reads = {kind.reads!r}"
        raise InputError(f"{said}; accepted: {data!r}, as imagenet.data")
    if study.search:
        return Search(study.search, design.fixed(settings, study)), trial
    own, treatments = settings.resnet.norm, len(get_args(params.Treatment))
    if kind.settings == "imagenet":
        images, model = import_module("stages.vision.images"), import_module("stages.vision.model")
        own = model.published(settings.imagenet.arch, settings.imagenet.weights).norm
        treatments -= not images.trains(settings.imagenet)  # the last one is fine-tuning
    return Points(design.over_seeds(study, design.points(settings, study, own, treatments))), trial


def _at(axis: FloatDistribution, share: float) -> float:
    """The value at a share, in [0, 1], of an axis."""
    return axis.low * (axis.high / axis.low) ** share if axis.log else axis.low + (axis.high - axis.low) * share


def _rounded(value: float, axis: FloatDistribution) -> float:
    return min(max(float(f"{value:.6g}"), axis.low), axis.high)


def _constant(name: str, value: float | int | str) -> BaseDistribution:
    """The distribution of a single value."""
    if name in CHOICES:
        return CategoricalDistribution(CHOICES[name])
    return IntDistribution(value, value) if isinstance(value, int) else FloatDistribution(float(value), float(value))
