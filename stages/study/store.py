"""An Optuna study on disk: trials and their results, kept as soon as they are there, and never lost.

A study whose trials were determined by something else (see `fingerprint`) is another study: it is moved aside, whole,
and comes back with its settings.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from stages.settings.params import InputError, Parameters

FOLDER = Path("data/studies")
DIGEST = "digest"  # the user attribute that is written last: a trial that has it has its whole result
SECONDS = "seconds"  # that of the time which the evaluation took: no result

optuna.logging.set_verbosity(optuna.logging.WARNING)


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Keeps other runs from the study at `path`, by a lock that dies with its process.

    raises: InputError if another run has it
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        holder = Path(lock.lock_file).read_text() or "of a number that is not known yet"
        raise InputError(f"{path}: another run is at it: process {holder}; wait for its end, or stop it") from None
    try:
        Path(lock.lock_file).write_text(str(os.getpid()))
        yield
    finally:
        lock.release()


def open_study(fingerprint: dict, path: Path, from_scratch: bool = False) -> optuna.Study:
    """The study of that fingerprint, with the trials that it has so far.

    A study of another fingerprint at `path` is moved aside; one of this fingerprint that was moved aside comes back.

    from_scratch: begins without trials all the same; what is there is moved aside
    raises:       InputError if a kept result is not what was kept
    """
    there = _fingerprint_of(path)
    if there is not None and (from_scratch or there != fingerprint):
        changed = ", ".join(key for key in fingerprint if fingerprint[key] != there.get(key))
        reason = "as asked" if from_scratch else f"{changed} changed"
        aside = _free(path, "replaced" if from_scratch else _digest(there)[:8])
        os.replace(path, aside)
        print(f"{path} starts from scratch: {reason}. The old one is {aside}.", flush=True)
    if not from_scratch and not path.exists():
        _bring_back(path, fingerprint)
    study = optuna.create_study(storage=_url(path), study_name=path.stem, direction="maximize", load_if_exists=True)
    if not study.user_attrs:
        with warnings.catch_warnings(category=optuna.exceptions.ExperimentalWarning, action="ignore"):
            study.set_metric_names(["accuracy"])  # "experimental" since 2023
        study.set_user_attr("fingerprint", fingerprint)
    _check(study, path)
    return study


def add(study: optuna.Study, parameters: Parameters, distributions: dict[str, BaseDistribution]) -> None:
    """Appends a trial that waits for its evaluation."""
    study.add_trial(optuna.create_trial(state=TrialState.WAITING, params=dict(parameters), distributions=distributions))


def start(study: optuna.Study, trial: FrozenTrial) -> None:
    """Notes that the evaluation starts now; a trial that a kill has left running starts again."""
    for state in (TrialState.WAITING, TrialState.RUNNING):
        study._storage.set_trial_state_values(trial._trial_id, state)


def keep(study: optuna.Study, trial: FrozenTrial, result: dict[str, Any]) -> None:
    """Writes a result to disk, in the trial's user attributes, and completes the trial."""
    kept = optuna.trial.Trial(study, trial._trial_id)
    for name, value in (result | {DIGEST: _digest([trial.params, _without_time(result)])}).items():
        kept.set_user_attr(name, value)
    study.tell(trial.number, result["accuracy"])


def complete(study: optuna.Study) -> None:
    """Completes the trials that have their whole result, but that a kill left running."""
    for trial in study.get_trials(deepcopy=False):
        if has_result(trial) and not trial.state.is_finished():
            study.tell(trial.number, trial.user_attrs["accuracy"])


def has_result(trial: FrozenTrial) -> bool:
    return DIGEST in trial.user_attrs


def results(trials: Iterable[FrozenTrial]) -> list[dict[str, Any]]:
    """The result of each trial that has one, in order."""
    return [_without_time(_result(trial)) for trial in trials if has_result(trial)]


def in_memory(trials: Iterable[FrozenTrial]) -> optuna.Study:
    """A study of these trials."""
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    return study


def _result(trial: FrozenTrial) -> dict[str, Any]:
    return {name: value for name, value in trial.user_attrs.items() if name != DIGEST}


def _without_time(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name != SECONDS}


def _check(study: optuna.Study, path: Path) -> None:
    for trial in study.get_trials(deepcopy=False):
        finished, result = trial.state.is_finished(), trial.user_attrs
        whole = result.get(DIGEST) == _digest([trial.params, _without_time(_result(trial))])
        told = trial.state == TrialState.COMPLETE and trial.value == result.get("accuracy")
        if (finished and not told) or ((finished or has_result(trial)) and not whole):
            raise InputError(
                f"{path}: trial {trial.number} is not as it was kept: the file was changed or is damaged; "
                f"`git restore {path}` brings back the committed study, `rm {path}` starts from scratch"
            )


def _fingerprint_of(path: Path) -> dict | None:
    if not path.exists():
        return None
    try:
        return optuna.load_study(storage=_url(path), study_name=path.stem).user_attrs.get("fingerprint")
    except KeyError:  # a file without the study: killed before it had been created
        return None


def _bring_back(path: Path, fingerprint: dict) -> None:
    """Moves the largest study of that fingerprint that lies aside to its place, if there is one."""
    if aside := max(_aside(path, _digest(fingerprint)[:8]), key=lambda other: _length(other, path.stem), default=None):
        os.replace(aside, path)
        print(f"{path} was kept aside as {aside.name} with these settings: it goes on.", flush=True)


def _length(path: Path, name: str) -> int:
    return len(optuna.load_study(storage=_url(path), study_name=name).get_trials(deepcopy=False))


def _aside(path: Path, label: str) -> Iterator[Path]:
    yield from path.parent.glob(f"{path.stem}-{label}*{path.suffix}")


def _free(path: Path, label: str) -> Path:
    """A name that no file has: nothing that was moved aside before is overwritten."""
    number, name = 1, path.with_stem(f"{path.stem}-{label}")
    while name.exists():
        number += 1
        name = path.with_stem(f"{path.stem}-{label}-{number}")
    return name


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _url(path: Path) -> str:
    return f"sqlite:///{path}"
