"""An Optuna study on disk: trials and their results, kept as soon as they are done, and never lost.

Its SQLite file is never changed in place, but replaced, whole, with every result: the study is worked on in memory. So
there is no journal that could outlive a kill and be rolled into a file that `git restore` has brought back since, and a
study that cannot begin changes nothing.

A study whose trials were determined by something else (see `fingerprint`) is another study: with the first result of
the new one it is renamed, and comes back with its settings.
"""

import gc
import hashlib
import itertools
import json
import os
import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.pool import StaticPool

from stages.common import files
from stages.common.errors import InputError, short
from stages.settings.params import Parameters
from stages.study.fingerprint import changed

FOLDER = Path("data/studies")
DIGEST = "digest"  # the user attribute that says what was kept, of a trial and of the fingerprint
CARRIED = "carried"  # that of a study whose fingerprint was changed by `carry`
SECONDS = "seconds"  # that of the time which the evaluation took: no result

optuna.logging.set_verbosity(optuna.logging.ERROR)


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Keeps other runs from the study at `path`, by a lock that dies with its process.

    raises: InputError if another run has it
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_suffix(".lock")
    try:
        with FileLock(lock, timeout=0):
            lock.write_text(str(os.getpid()), encoding="utf-8")
            yield
    except Timeout:
        holder = lock.read_text(encoding="utf-8") or "(number not known yet)"
        raise InputError(f"{path}: locked by process {holder}; wait for it, or stop it") from None


class StudyFile:
    """The study of a fingerprint, with the trials that it has so far, and its file at `path`.

    A study of another fingerprint at `path` is renamed as soon as this one is written; a renamed study of this
    fingerprint is continued.

    from_scratch: begins without trials all the same
    raises:       InputError if a file is damaged, or a kept result is not what was kept
    """

    def __init__(self, fingerprint: dict, path: Path, from_scratch: bool = False):
        self.path = path
        self._old: Path | None = None  # the name that the study at `path` gets when this one is written
        self._moved: Path | None = None  # where this one comes from
        present = load(path, path.stem) if path.exists() else None
        if present and not from_scratch and fingerprint_of(present.study) == fingerprint:
            self.study, self._database = present
            return
        moved = {} if from_scratch else _moved_studies(path, fingerprint)
        if moved:
            self._moved = max(moved, key=lambda each: len(moved[each].study.trials))
            self.study, self._database = moved[self._moved]
            print(f"{path} continues {self._moved.name}, the study of these settings", flush=True)
        else:
            self.study, self._database = _new(path.stem, fingerprint)
        if present:
            before = fingerprint_of(present.study)
            self._old = _free(path, "replaced" if from_scratch else _digest(before)[:8])
            if not moved:
                reason = "as asked" if from_scratch else f"{changed(fingerprint, before)} changed"
                print(f"{path} starts from scratch: {reason}; its first result will rename the old study", flush=True)

    def keep(self, trial: FrozenTrial, result: dict[str, Any]) -> None:
        """Completes a trial with its result, and writes the study."""
        evaluated = optuna.trial.Trial(self.study, trial._trial_id)
        for name, value in (result | {DIGEST: _digest([trial.params, _outcome(result)])}).items():
            evaluated.set_user_attr(name, value)
        self.study.tell(trial.number, result["accuracy"])
        self._write()

    def settle(self) -> None:
        """Brings a renamed study back to its place, also where it needs no further result."""
        if self._moved:
            self._write()

    def _write(self) -> None:
        part = files.write_part(self.path, self._database.serialize())
        if self._old and self.path.exists():
            os.replace(self.path, self._old)
            print(f"{self.path}: the old study is now {self._old}", flush=True)
        os.replace(part, self.path)
        if self._moved:  # all that it holds is in its place now
            self._moved.unlink(missing_ok=True)
        self._old = self._moved = None


def add(study: optuna.Study, parameters: Parameters, distributions: Mapping[str, BaseDistribution]) -> None:
    """Appends a trial that waits for its evaluation."""
    study.add_trial(
        optuna.create_trial(state=TrialState.WAITING, params=dict(parameters), distributions=dict(distributions))
    )


def start(study: optuna.Study, trial: FrozenTrial) -> None:
    """Notes that the evaluation starts now; a trial that a kill has left running starts again."""
    for state in (TrialState.WAITING, TrialState.RUNNING):
        study._storage.set_trial_state_values(trial._trial_id, state)


def carry(study: optuna.Study, fingerprint: dict, note: dict[str, Any]) -> None:
    """Gives a study the fingerprint of other code that has been shown to give the same results; `note` says how."""
    study.set_user_attr(CARRIED, [*study.user_attrs.get(CARRIED, []), note])
    study.set_user_attr("fingerprint", fingerprint)
    study.set_user_attr(DIGEST, _digest(fingerprint))


def has_result(trial: FrozenTrial) -> bool:
    return DIGEST in trial.user_attrs


def results(trials: Iterable[FrozenTrial]) -> list[dict[str, Any]]:
    """The result of each trial that has one, in order."""
    return [_outcome(trial.user_attrs) for trial in trials if has_result(trial)]


def refusal(path: Path, wrong: str) -> InputError:
    """The line in which a run ends that finds a study which is not as it was kept, with a way on that loses nothing."""
    way = f"after `mv {path} {path}.old`, `git restore {path}` brings back the committed study, the next run a new one"
    return InputError(f"{path}: {short(' '.join(wrong.split()))}; {way}")


class Loaded(NamedTuple):
    study: optuna.Study
    database: sqlite3.Connection  # that it lives in


def _new(name: str, fingerprint: dict) -> Loaded:
    database = sqlite3.connect(":memory:", check_same_thread=False)
    study = optuna.create_study(storage=_storage(database), study_name=name, direction="maximize")
    with warnings.catch_warnings(category=optuna.exceptions.ExperimentalWarning, action="ignore"):
        study.set_metric_names(["accuracy"])  # "experimental" since 2023
    study.set_user_attr("fingerprint", fingerprint)
    study.set_user_attr(DIGEST, _digest(fingerprint))
    return Loaded(study, database)


def load(path: Path, name: str) -> Loaded:
    """The study of that name in the file at `path`, checked.

    raises: InputError if the file is damaged, or a kept result is not what was kept
    """
    database = sqlite3.connect(":memory:", check_same_thread=False)
    content = path.read_bytes()
    gc.disable()  # it would go through the parts of all trials again and again: two thirds of the time
    try:
        database.deserialize(content)
        for check in ("integrity_check(1)", "foreign_key_check"):
            found = database.execute(f"PRAGMA {check}").fetchone()
            if found not in (None, ("ok",)):
                raise ValueError(f"{check.partition('(')[0]} finds {found[0]}")
        study = optuna.load_study(storage=_storage(database, skip_table_creation=True), study_name=name)
        wrong = _fault(study)
    except Exception as error:  # whatever a damaged file can raise
        wrong = f"the file is damaged: {error.__cause__ or error}" if content else "the file is empty"
    finally:
        gc.enable()
    if wrong:
        raise refusal(path, wrong)
    return Loaded(study, database)


def _storage(database: sqlite3.Connection, skip_table_creation: bool = False) -> RDBStorage:
    engine = {"creator": lambda: database, "poolclass": StaticPool}
    return RDBStorage("sqlite://", engine, skip_table_creation=skip_table_creation)


def _fault(study: optuna.Study) -> str | None:
    """What does not hold together in a study, such as a result that was changed since it was kept."""
    fingerprint = fingerprint_of(study)
    # The first studies have no digest of their fingerprint.
    if not fingerprint or study.user_attrs.get(DIGEST, _digest(fingerprint)) != _digest(fingerprint):
        return "what determines its trials is not as it was kept: the file was changed or is damaged"
    if study.direction != StudyDirection.MAXIMIZE:
        return "it minimizes; expected: accuracy, maximized"
    for number, trial in enumerate(study.get_trials(deepcopy=False)):
        finished = trial.state.is_finished() or has_result(trial)
        if finished and trial.state != TrialState.COMPLETE:
            return f"trial {number} has the state {trial.state.name}; expected of a trial that has ended: COMPLETE"
        digest, accuracy = _digest([trial.params, _outcome(trial.user_attrs)]), trial.user_attrs.get("accuracy")
        as_kept = trial.value == accuracy and trial.user_attrs.get(DIGEST) == digest
        if trial.number != number or (finished and not as_kept):
            return f"trial {number} is not as it was kept: the file was changed or is damaged"
    return None


def fingerprint_of(study: optuna.Study) -> dict:
    return study.user_attrs.get("fingerprint", {})


def _moved_studies(path: Path, fingerprint: dict) -> dict[Path, Loaded]:
    """The studies of that fingerprint that were renamed."""
    names = path.parent.glob(f"{path.stem}-{_digest(fingerprint)[:8]}*{path.suffix}")
    found = {name: load(name, path.stem) for name in names}
    return {name: loaded for name, loaded in found.items() if fingerprint_of(loaded.study) == fingerprint}


def _free(path: Path, label: str) -> Path:
    """A name that no file has: nothing that was moved before is overwritten."""
    names = (path.with_stem(f"{path.stem}-{label}" + f"-{number}" * (number > 1)) for number in itertools.count(1))
    return next(name for name in names if not name.exists())


def _outcome(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The result alone, of the user attributes of a trial."""
    return {name: value for name, value in attributes.items() if name not in (DIGEST, SECONDS)}


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
