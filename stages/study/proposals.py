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
from typing import NoReturn, get_args

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial
from scipy.stats import qmc

from stages.settings import params
from stages.settings.params import Axis, Interval, Parameters
from stages.study import store

Distribution = CategoricalDistribution | FloatDistribution
CHOICES = {"optimizer": get_args(params.Optimizer), "init": get_args(params.Init), "shuffle": (False, True)}


class Search:
    """A sampler's trials.

    settings: how they are proposed, and how many
    fixed:    the parameters that all trials share
    """

    def __init__(self, settings: params.Search, fixed: Parameters):
        self.settings, self.fixed, self.total = settings, fixed, settings.n_trials
        self.space = distributions(settings.space)

    def determinants(self) -> dict[str, dict]:
        """The settings that determine which trials there are, and their parameters."""
        named = {"sampler", "seed", "batch"} | ({"grid"} if self.settings.sampler == "grid" else set())
        space = {
            name: {"low": axis.low, "high": axis.high, "log": axis.log}
            if isinstance(axis, FloatDistribution)
            else list(axis.choices)
            for name, axis in self.space.items()
        }
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
        trials = self.trials(study)
        self._add(study, slice(0, min(self.settings.batch, len(trials))))
        for trial in trials:
            if trial.distributions != self.space:
                self._refuse(study, trial, f"in {trial.distributions}", f"one in {self.space}")

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
        proposals = propose(self.settings, trials[: batch.start], batch.start // self.settings.batch)
        for number, proposal in zip(range(batch.start, batch.stop), proposals, strict=False):
            if number >= len(trials):
                store.add(study, proposal, self.space)
            elif trials[number].params != proposal:
                self._refuse(study, trials[number], str(trials[number].params), str(proposal))

    @staticmethod
    def _refuse(study: optuna.Study, trial: FrozenTrial, kept: str, proposed: str) -> NoReturn:
        wrong = f"trial {trial.number} is {kept}, but the settings propose {proposed}"
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


def propose(search: params.Search, before: Sequence[FrozenTrial], batch: int) -> list[Parameters]:
    """The parameters of all trials of a batch: a pure function of its arguments.

    before:  the completed trials before the batch, in order
    batch:   number of the batch, from 0
    returns: one mapping of names to values for each trial; fewer than `search.batch` where a grid ends
    """
    space, places = distributions(search.space), slice(len(before), len(before) + search.batch)
    points: Iterable[Iterable]
    if search.sampler == "qmc":
        points = _sobol(search, space, places)
    elif search.sampler == "grid":
        points = itertools.islice(_grid(search, space), places.start, places.stop)
    else:
        points = _asked(search, space, before, batch)
    return [{name: _rounded(value, space[name]) for name, value in zip(space, point, strict=True)} for point in points]


def _asked(
    search: params.Search, space: Mapping[str, Distribution], before: Sequence[FrozenTrial], batch: int
) -> list[Iterable]:
    """The proposals of Optuna's sampler, from a random state of its own for every batch."""
    seed = int(np.random.SeedSequence((search.seed, batch)).generate_state(1)[0])
    samplers = optuna.samplers
    kind = {"tpe": samplers.TPESampler, "random": samplers.RandomSampler, "gp": samplers.GPSampler}[search.sampler]
    torch.set_num_threads(1)  # Optuna's Gaussian process computes with torch, which rounds by its number of threads
    study = optuna.create_study(direction="maximize", sampler=kind(seed=seed))
    study.add_trials(before)
    asked = (study.ask(dict(space)).params for _ in range(search.batch))
    return [[params[name] for name in space] for params in asked]


def _sobol(search: params.Search, space: Mapping[str, Distribution], places: slice) -> list[Iterable]:
    """Those points of one scrambled Sobol sequence, whatever came of those before."""
    sequence = qmc.Sobol(len(space), seed=search.seed).random_base2((places.stop - 1).bit_length())
    return [map(_at, space.values(), point) for point in sequence[places]]


def _grid(search: params.Search, space: Mapping[str, Distribution]) -> Iterator[tuple]:
    """The points of a regular grid, ends included, row by row."""
    steps = []
    for axis in space.values():
        if isinstance(axis, CategoricalDistribution):
            steps.append(list(axis.choices))
        else:
            steps.append([_at(axis, share) for share in ([0.0] if axis.single() else np.linspace(0, 1, search.grid))])
    return itertools.product(*steps)


def distributions(space: Mapping[str, Axis]) -> dict[str, Distribution]:
    """The search space as Optuna knows it; a number is an interval without width."""

    def distribution(axis: Axis) -> Distribution:
        if isinstance(axis, Interval):
            return FloatDistribution(axis.low, axis.high, bool(axis.log))
        return CategoricalDistribution(axis) if isinstance(axis, list) else FloatDistribution(axis, axis)

    return {name: distribution(axis) for name, axis in space.items()}


def _at(axis: Distribution, share: float) -> float | str | None:
    """The value at a share, in [0, 1], of the way along an axis."""
    if isinstance(axis, CategoricalDistribution):
        return axis.choices[min(int(share * len(axis.choices)), len(axis.choices) - 1)]
    return axis.low * (axis.high / axis.low) ** share if axis.log else axis.low + (axis.high - axis.low) * share


def _rounded(value: float | int | str, axis: Distribution) -> float | str:
    if isinstance(axis, CategoricalDistribution):
        return str(value)
    return min(max(float(f"{value:.6g}"), axis.low), axis.high)


def _constant(name: str, value: float | int | str) -> BaseDistribution:
    """The distribution of a single value; Optuna asks that choices are the same in all trials of a study."""
    if name in CHOICES:
        return CategoricalDistribution(CHOICES[name])
    return IntDistribution(value, value) if isinstance(value, int) else FloatDistribution(float(value), float(value))


def _key(parameters: Parameters) -> tuple:
    return tuple(sorted(parameters.items()))
