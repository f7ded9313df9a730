"""An Optuna study: what is proposed, what is kept, and when kept trials may be used again.

The list of trials depends on the settings alone, not on how many workers there are, which of them is faster or how
often the sweep is killed. That takes all of the following:

- trials are proposed in batches of fixed size: a proposal made whenever a worker falls idle would depend on which
  results happen to be in;
- a batch is proposed by a fresh sampler from the seed, the batch's number and the completed trials before the batch:
  a sampler that lives on carries a random state that no restart can bring back;
- a result is kept as soon as it is there, so that a kill costs only what is running, but told to the study in the
  order of the trials: what the sampler sees has one order;
- proposals are rounded before they are evaluated, so that the pair in the table is the pair that was evaluated;
- an evaluation depends on the pair, the settings and the data alone (see `training.evaluate`);
- trials of other settings, data or code have another fingerprint, and are another study (see `fingerprint`).
"""

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import qmc

from stages.params import InputError, Interval, Sweep

FOLDER = Path("data/studies")
RESULT = "result"  # the user attribute of a trial that holds what its evaluation gave

optuna.logging.set_verbosity(optuna.logging.WARNING)

Intervals = Mapping[str, Interval]


def open_study(wanted: dict, path: Path, anew: bool = False) -> optuna.Study:
    """The study of the wanted fingerprint, with the trials that it has so far.

    A study of another one is moved aside, never mixed with and never lost: it comes back with its settings.

    anew: begins without trials all the same; what was kept is moved aside until the next time
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = _fingerprint_of(path)
    if anew and path.exists():
        os.replace(path, path.with_stem(f"{path.stem}-replaced"))
        print(f"{path} starts anew, as asked. The old one is {path.stem}-replaced{path.suffix}.", flush=True)
    elif kept is not None and kept != wanted:
        changed = ", ".join(key for key in wanted if wanted[key] != kept.get(key))
        os.replace(path, _aside(path, kept))
        print(f"{path} starts anew: {changed} changed. The old one is {_aside(path, kept)}.", flush=True)
    if not anew and not path.exists() and _aside(path, wanted).exists():
        os.replace(_aside(path, wanted), path)
        print(f"{path} was kept aside with these settings: it goes on.", flush=True)
    study = optuna.create_study(storage=_url(path), study_name=path.stem, direction="maximize", load_if_exists=True)
    if not study.user_attrs:
        study.set_user_attr("fingerprint", wanted)
    return study


def propose(sweep: Sweep, before: Sequence[FrozenTrial], batch: int) -> list[dict[str, float]]:
    """The parameters of all trials of a batch: a pure function of its arguments.

    before:  the completed trials before the batch, in order
    batch:   number of the batch, from 0
    returns: one mapping of names to values for each trial; fewer than `sweep.batch` where a grid ends
    """
    points = GIVEN.get(sweep.sampler, _asked)(sweep, before, batch)
    space = sweep.space.intervals()
    return [{name: _rounded(params[name], interval) for name, interval in space.items()} for params in points]


def _asked(sweep: Sweep, before: Sequence[FrozenTrial], batch: int) -> list[dict[str, float]]:
    """What Optuna's sampler proposes, from a random state of its own for every batch."""
    seed = int(np.random.SeedSequence((sweep.seed, batch)).generate_state(1)[0])
    sampler = {
        "tpe": optuna.samplers.TPESampler,
        "random": optuna.samplers.RandomSampler,
        "gp": optuna.samplers.GPSampler,
    }[sweep.sampler](seed=seed)
    torch.set_num_threads(1)  # Optuna's Gaussian process computes with torch, which rounds by its number of threads
    study = of(before)
    study.sampler = sampler
    return [study.ask(distributions(sweep.space.intervals())).params for _ in range(sweep.batch)]


def _sobol(sweep: Sweep, before: Sequence[FrozenTrial], batch: int) -> list[dict[str, float]]:
    """The next points of one scrambled Sobol sequence, whatever came of those before."""
    start, end, space = len(before), len(before) + sweep.batch, sweep.space.intervals()
    sequence = qmc.Sobol(len(space), seed=sweep.seed).random_base2((end - 1).bit_length())
    return [_at(space, point) for point in sequence[start:end]]


def _grid(sweep: Sweep, before: Sequence[FrozenTrial], batch: int) -> list[dict[str, float]]:
    """The next points of a regular grid, ends included, row by row."""
    space = sweep.space.intervals()
    steps = [np.linspace(0, 1, sweep.grid) if each.low < each.high else np.zeros(1) for each in space.values()]
    points = itertools.product(*steps)
    return [_at(space, point) for point in itertools.islice(points, len(before), len(before) + sweep.batch)]


GIVEN = {"qmc": _sobol, "grid": _grid}  # the samplers that learn nothing: their points are given from the start


def _at(space: Intervals, point: Iterable[float]) -> dict[str, float]:
    """The parameters at a point of the unit cube."""
    return {
        name: interval.low * (interval.high / interval.low) ** share
        if interval.log
        else interval.low + (interval.high - interval.low) * share
        for (name, interval), share in zip(space.items(), point, strict=True)
    }


def distributions(space: Intervals) -> dict[str, BaseDistribution]:
    """The search space as Optuna knows it."""
    return {name: FloatDistribution(**interval.model_dump()) for name, interval in space.items()}


def listed(study: optuna.Study, points: Sequence[Mapping[str, float]]) -> list[FrozenTrial]:
    """The trials at given points, in the order of the points; those that the study lacks are added to it."""
    known = {tuple(sorted(trial.params.items())): trial.number for trial in study.get_trials(deepcopy=False)}
    numbers = []
    for point in points:
        key = tuple(sorted(point.items()))
        if key not in known:
            known[key] = len(known)
            study.add_trial(_running(point, {name: _constant(value) for name, value in point.items()}))
        numbers.append(known[key])
    trials = study.get_trials(deepcopy=False)
    return [trials[number] for number in numbers]


def batches(study: optuna.Study, sweep: Sweep) -> Iterator[list[FrozenTrial]]:
    """The trials of one batch after the other that have no result yet; all of them must have one before the next.

    raises: InputError if the kept trials are not those that the settings propose
    """
    for start in range(0, sweep.n_trials, sweep.batch):
        numbers = range(start, min(start + sweep.batch, sweep.n_trials))
        trials = study.get_trials(deepcopy=False)
        if len(trials) < numbers.stop or not all(trials[number].state.is_finished() for number in numbers):
            proposals = propose(sweep, trials[:start], start // sweep.batch)
            for number in numbers:
                proposal = proposals[number - start]
                if number == len(trials):
                    study.add_trial(_running(proposal, distributions(sweep.space.intervals())))
                elif trials[number].params != proposal:
                    path = FOLDER / f"{study.study_name}.sqlite3"
                    raise InputError(
                        f"{path}: trial {number} is {trials[number].params}, but the settings propose {proposal};"
                        " remove the file to start anew"
                    )
                trials = study.get_trials(deepcopy=False)
            yield [trials[number] for number in numbers if RESULT not in trials[number].user_attrs]
            tell(study)


def keep(study: optuna.Study, trial: FrozenTrial, result: dict[str, Any]) -> None:
    """Writes a result to disk, and tells the study all results whose turn has come."""
    optuna.trial.Trial(study, trial._trial_id).set_user_attr(RESULT, result)
    tell(study)


def tell(study: optuna.Study) -> None:
    """Completes, in the order of their numbers, the trials that have a result, up to the first that has none."""
    for trial in study.get_trials(deepcopy=False):
        if not trial.state.is_finished():
            if RESULT not in trial.user_attrs:
                return
            study.tell(trial.number, trial.user_attrs[RESULT]["accuracy"])


def results(trials: Iterable[FrozenTrial]) -> list[dict[str, Any]]:
    """What the evaluations gave, for those trials that have been evaluated, in order."""
    return [trial.user_attrs[RESULT] for trial in trials if RESULT in trial.user_attrs]


def of(trials: Iterable[FrozenTrial]) -> optuna.Study:
    """A study in memory, of these trials."""
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    return study


def _running(params: Mapping[str, float], within: dict[str, BaseDistribution]) -> FrozenTrial:
    trial = optuna.create_trial(state=TrialState.RUNNING, params=dict(params), distributions=within)
    trial.datetime_start = datetime.now()
    return trial


def _constant(value: float) -> BaseDistribution:
    return IntDistribution(value, value) if isinstance(value, int) else FloatDistribution(value, value)


def _rounded(value: float, interval: Interval) -> float:
    return min(max(float(f"{value:.6g}"), interval.low), interval.high)


def _fingerprint_of(path: Path) -> dict | None:
    if not path.exists():
        return None
    try:
        return optuna.load_study(storage=_url(path), study_name=path.stem).user_attrs.get("fingerprint")
    except KeyError:  # a file without the study: killed before it had been created
        return None


def _aside(path: Path, fingerprint: dict) -> Path:
    digest = hashlib.sha256(repr(sorted(fingerprint.items())).encode()).hexdigest()
    return path.with_name(f"{path.stem}-{digest[:8]}{path.suffix}")


def _url(path: Path) -> str:
    return f"sqlite:///{path}"
