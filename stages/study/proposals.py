"""The two plans of a study: a search, whose trials a sampler proposes, and points, which are given.

The list of trials depends on the settings alone, not on how many workers there are, which of them is faster or how
often the study is killed. That takes all of the following:

- trials are proposed in batches of fixed size: a proposal made whenever a worker falls idle would depend on which
  results happen to be in;
- a batch is proposed by a fresh sampler from the seed, the batch's number and the completed trials before the batch, in
  the order of their numbers: a sampler that lives on carries a random state that no restart can bring back;
- a result is kept as soon as it is done, so that a kill costs only what is running;
- proposals are rounded before they are evaluated, so that the pair in the table is the pair that was evaluated;
- a trial depends on its parameters, the settings and the data alone (see `lenet.training`);
- trials of other settings, data or code have another fingerprint, and are another study (see `fingerprint`).
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import get_args

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial
from scipy.stats import qmc

from stages.settings import params
from stages.settings.params import Parameters
from stages.study import store

# Optuna asks that choices are the same in all trials of a study.
CHOICES = {"optimizer": get_args(params.Optimizer), "init": get_args(params.Init), "shuffle": (False, True)}


class Search:
    """A sampler's trials.

    settings: how they are proposed, and how many
    fixed:    the parameters that all trials share
    """

    def __init__(self, settings: params.Search, fixed: Parameters):
        self.settings, self.fixed, self.total = settings, fixed, settings.n_trials
        axes = settings.space.items()
        self.space = {name: FloatDistribution(axis.low, axis.high, bool(axis.log)) for name, axis in axes}

    def determinants(self) -> dict[str, dict]:
        """The settings that determine which trials there are, and their parameters."""
        named = {"sampler", "seed", "batch"} | ({"grid"} if self.settings.sampler == "grid" else set())
        space = {name: {"low": axis.low, "high": axis.high, "log": axis.log} for name, axis in self.space.items()}
        search = self.settings.model_dump(include=named) | {"space": space}
        return {"search": search} | ({"train": self.fixed} if self.fixed else {})

    def trials(self, study: optuna.Study) -> list[FrozenTrial]:
        """Those of its trials that the study has, in order."""
        return study.get_trials(deepcopy=False)[: self.total]

    def check(self, study: optuna.Study) -> None:
        """Proposes the first batch again.

        Not later ones, which cost more and rest on sums that another kind of processor rounds differently: whether a
        trial of theirs was changed since is seen from its digest (see `store`).

        raises: InputError if the kept trials are not those that the settings propose
        """
        self._add(study, slice(0, min(self.settings.batch, len(self.trials(study)))))

    def batches(self, study: optuna.Study) -> Iterator[list[FrozenTrial]]:
        """The trials of one batch after the other that have no result yet; all of them must have one before the next.

        raises: InputError if the kept trials are not those that the settings propose
        """
        for start in range(0, self.total, self.settings.batch):
            batch = slice(start, min(start + self.settings.batch, self.total))
            if sum(map(store.has_result, self.trials(study)[batch])) < batch.stop - batch.start:
                self._add(study, batch)
                yield [trial for trial in self.trials(study)[batch] if not store.has_result(trial)]

    def _add(self, study: optuna.Study, batch: slice) -> None:
        """Proposes a batch, and adds those of its trials that the study lacks."""
        trials = self.trials(study)
        proposals = propose(self.settings, self.space, trials[: batch.start])
        for number, proposal in zip(range(batch.start, batch.stop), proposals, strict=False):
            if number >= len(trials):
                store.add(study, proposal, self.space)
                continue
            kept, proposed = (trials[number].params, trials[number].distributions), (proposal, self.space)
            if kept != proposed:
                wrong = f"trial {number} is {kept[0]} in {kept[1]}, but the settings propose {proposal} in {self.space}"
                raise store.refusal(store.FOLDER / f"{study.study_name}.sqlite3", wrong)


class Points:
    """Trials at given points.

    points: the parameters of each
    """

    def __init__(self, points: Sequence[Parameters]):
        self.points, self.total = points, len(points)
        self.fixed: Parameters = {}

    def determinants(self) -> dict[str, dict]:
        """None: a point has all parameters of its trial, and trials of other points lie in the same study."""
        return {}

    def trials(self, study: optuna.Study) -> list[FrozenTrial]:
        """Those of its trials that the study has, in the order of the points."""
        known = {_key(trial.params): trial for trial in study.get_trials(deepcopy=False)}
        return [known[_key(point)] for point in self.points if _key(point) in known]

    def check(self, study: optuna.Study) -> None:
        """Nothing: trials of other points may be there."""

    def batches(self, study: optuna.Study) -> Iterator[list[FrozenTrial]]:
        """All trials that have no result yet; those that the study lacks are added to it."""
        known = {_key(trial.params) for trial in study.get_trials(deepcopy=False)}
        for key, point in {_key(point): point for point in self.points}.items():
            if key not in known:
                store.add(study, point, {name: _constant(name, value) for name, value in point.items()})
        lacking = {trial.number: trial for trial in self.trials(study) if not store.has_result(trial)}
        if lacking:
            yield list(lacking.values())


def propose(
    search: params.Search, space: Mapping[str, FloatDistribution], before: Sequence[FrozenTrial]
) -> list[Parameters]:
    """The parameters of all trials of a batch: a pure function of its arguments.

    before:  the completed trials before the batch, in order
    returns: one mapping of names to values for each trial; fewer than `search.batch` where a grid ends
    """
    if search.sampler in ("qmc", "grid"):
        shares = _shares(search, space, slice(len(before), len(before) + search.batch))
        points = [[_at(axis, share) for axis, share in zip(space.values(), each, strict=True)] for each in shares]
    else:
        points = _asked(search, space, before)
    return [
        {name: _rounded(value, axis) for (name, axis), value in zip(space.items(), point, strict=True)}
        for point in points
    ]


def _asked(
    search: params.Search, space: Mapping[str, FloatDistribution], before: Sequence[FrozenTrial]
) -> list[list[float]]:
    """The proposals of Optuna's sampler, from a random state of its own for every batch."""
    batch = len(before) // search.batch
    seed = int(np.random.SeedSequence((search.seed, batch)).generate_state(1)[0])
    samplers = optuna.samplers
    kind = {"tpe": samplers.TPESampler, "random": samplers.RandomSampler, "gp": samplers.GPSampler}[search.sampler]
    torch.set_num_threads(1)  # Optuna's Gaussian process computes with torch, which rounds by its number of threads
    study = optuna.create_study(direction="maximize", sampler=kind(seed=seed))
    study.add_trials(before)
    asked = (study.ask(dict(space)).params for _ in range(search.batch))
    return [[params[name] for name in space] for params in asked]


def _shares(search: params.Search, space: Mapping[str, FloatDistribution], places: slice) -> Iterable[Sequence[float]]:
    """How far along each axis the points at those places lie: of one scrambled Sobol sequence, or of a regular grid."""
    if search.sampler == "qmc":
        return qmc.Sobol(len(space), seed=search.seed).random_base2((places.stop - 1).bit_length())[places]
    steps = [np.linspace(0, 1, 1 if axis.single() else search.grid) for axis in space.values()]
    return itertools.islice(itertools.product(*steps), places.start, places.stop)


def _at(axis: FloatDistribution, share: float) -> float:
    """The value at a share, in [0, 1], of the way along an axis."""
    return axis.low * (axis.high / axis.low) ** share if axis.log else axis.low + (axis.high - axis.low) * share


def _rounded(value: float, axis: FloatDistribution) -> float:
    return min(max(float(f"{value:.6g}"), axis.low), axis.high)


def _constant(name: str, value: float | int | str) -> BaseDistribution:
    """The distribution of a single value."""
    if name in CHOICES:
        return CategoricalDistribution(CHOICES[name])
    return IntDistribution(value, value) if isinstance(value, int) else FloatDistribution(float(value), float(value))


def _key(parameters: Parameters) -> tuple:
    return tuple(sorted(parameters.items()))
