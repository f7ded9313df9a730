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
from typing import Any, NoReturn, get_args

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial
from scipy.stats import qmc

from stages.settings import params
from stages.settings.params import Axis, Interval, Parameters
from stages.study import store

Axes = Mapping[str, Axis]
CHOICES = {"optimizer": get_args(params.Optimizer), "init": get_args(params.Init), "shuffle": (False, True)}


class Search:
    """A sampler's trials.

    settings: how they are proposed, and how many
    fixed:    the parameters that all trials share
    """

    def __init__(self, settings: params.Search, fixed: Parameters | None = None):
        self.settings = settings
        self.fixed = fixed or {}
        self.total = settings.n_trials

    def determinants(self) -> dict[str, dict]:
        """The settings that determine which trials there are, and their parameters."""
        named = {"sampler", "seed", "batch"} | ({"grid"} if self.settings.sampler == "grid" else set())
        space = {name: axis if isinstance(axis, list) else _bounds(axis) for name, axis in self.settings.space.items()}
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
        trials, space = self.trials(study), distributions(self.settings.space)
        self._add(study, slice(0, min(self.settings.batch, len(trials))))
        for trial in trials:
            if trial.distributions != space:
                self._refuse(study, trial, f"in {trial.distributions}", f"one in {space}")

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
                store.add(study, proposal, distributions(self.settings.space))
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
        self.points = points
        self.fixed: Parameters = {}
        self.total = len(points)

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
        for point in self.points:
            if _key(point) not in known:
                store.add(study, point, {name: _constant(name, value) for name, value in point.items()})
                known.add(_key(point))
        lacking = {trial.number: trial for trial in self.trials(study) if not store.has_result(trial)}
        if lacking:
            yield list(lacking.values())


def propose(search: params.Search, before: Sequence[FrozenTrial], batch: int) -> list[Parameters]:
    """The parameters of all trials of a batch: a pure function of its arguments.

    before:  the completed trials before the batch, in order
    batch:   number of the batch, from 0
    returns: one mapping of names to values for each trial; fewer than `search.batch` where a grid ends
    """
    axes = search.space
    points = GIVEN.get(search.sampler, _asked)(search, before, batch)
    return [{name: _rounded(point[name], axis) for name, axis in axes.items()} for point in points]


def _asked(search: params.Search, before: Sequence[FrozenTrial], batch: int) -> list[Parameters]:
    """The proposals of Optuna's sampler, from a random state of its own for every batch."""
    seed = int(np.random.SeedSequence((search.seed, batch)).generate_state(1)[0])
    sampler = {
        "tpe": optuna.samplers.TPESampler,
        "random": optuna.samplers.RandomSampler,
        "gp": optuna.samplers.GPSampler,
    }[search.sampler](seed=seed)
    torch.set_num_threads(1)  # Optuna's Gaussian process computes with torch, which rounds by its number of threads
    study = store.in_memory(before)
    study.sampler = sampler
    return [study.ask(distributions(search.space)).params for _ in range(search.batch)]


def _sobol(search: params.Search, before: Sequence[FrozenTrial], batch: int) -> list[Parameters]:
    """The next points of one scrambled Sobol sequence, whatever came of those before."""
    start, end, axes = len(before), len(before) + search.batch, search.space
    sequence = qmc.Sobol(len(axes), seed=search.seed).random_base2((end - 1).bit_length())
    return [{name: _at(axis, share) for (name, axis), share in _zip(axes, point)} for point in sequence[start:end]]


def _grid(search: params.Search, before: Sequence[FrozenTrial], batch: int) -> list[Parameters]:
    """The next points of a regular grid, ends included, row by row."""
    axes = search.space
    points = itertools.product(*(_steps(axis, search.grid) for axis in axes.values()))
    return [
        dict(zip(axes, point, strict=True))
        for point in itertools.islice(points, len(before), len(before) + search.batch)
    ]


GIVEN = {"qmc": _sobol, "grid": _grid}  # the samplers that learn nothing: their points are given from the start


def distributions(axes: Axes) -> dict[str, BaseDistribution]:
    """The search space as Optuna knows it."""
    return {
        name: CategoricalDistribution(axis) if isinstance(axis, list) else FloatDistribution(**_bounds(axis))
        for name, axis in axes.items()
    }


def _bounds(axis: Interval | float) -> dict[str, Any]:
    if isinstance(axis, Interval):
        return {"low": axis.low, "high": axis.high, "log": bool(axis.log)}
    return {"low": axis, "high": axis, "log": False}


def _zip(axes: Axes, point: Iterable[float]) -> Iterator[tuple[tuple[str, Axis], float]]:
    return zip(axes.items(), point, strict=True)


def _steps(axis: Axis, count: int) -> list:
    if isinstance(axis, Interval):
        return [_at(axis, share) for share in np.linspace(0, 1, count)]
    return axis if isinstance(axis, list) else [axis]


def _at(axis: Axis, share: float) -> float | str:
    """The value at a share, in [0, 1], of the way along an axis."""
    if isinstance(axis, list):
        return axis[min(int(share * len(axis)), len(axis) - 1)]
    if not isinstance(axis, Interval):
        return axis
    return axis.low * (axis.high / axis.low) ** share if axis.log else axis.low + (axis.high - axis.low) * share


def _rounded(value: float | int | str, axis: Axis) -> float | str:
    if isinstance(axis, list):
        return str(value)
    return min(max(float(f"{value:.6g}"), _bounds(axis)["low"]), _bounds(axis)["high"])


def _constant(name: str, value: float | int | str) -> BaseDistribution:
    """The distribution of a single value; Optuna asks that choices are the same in all trials of a study."""
    if name in CHOICES:
        return CategoricalDistribution(CHOICES[name])
    return IntDistribution(value, value) if isinstance(value, int) else FloatDistribution(float(value), float(value))


def _key(parameters: Parameters) -> tuple:
    return tuple(sorted(parameters.items()))
