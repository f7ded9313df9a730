"""Optuna studies on disk: each result is saved at once.

A study is in memory; each result replaces the whole SQLite file. So a kill leaves no journal that SQLite would apply to
a file from `git restore`, and a study that cannot begin changes nothing.

With another `fingerprint`, the first result renames the old file, which is used again if its settings return.
"""

import hashlib
import itertools
import json
import os
import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.pool import StaticPool

from stages.common import files
from stages.common.errors import InputError, short
from stages.settings.params import Parameters
from stages.study.fingerprint import changed

DIGEST = "digest"  # user attribute: the hash of a trial with its result, or of the fingerprint
SECONDS = "seconds"  # user attribute of a trial: the time of its evaluation, which is no result

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass
class StudyFile:
    """A study in memory, and its file."""

    path: Path
    study: optuna.Study
    database: sqlite3.Connection
    label: str = ""  # if not empty, the first write renames the old file at `path` with it

    def keep(self, trial: FrozenTrial, result: dict[str, Any]) -> None:
        """Completes a trial with its result, and writes the file."""
        for name, value in (result | {DIGEST: _digest([trial.params, _outcome(result)])}).items():
            self.study._storage.set_trial_user_attr(trial._trial_id, name, value)
        self.study.tell(trial.number, result["accuracy"])
        self.write()

    def write(self) -> None:
        part = files.write_part(self.path, self.database.serialize())
        if self.label and self.path.exists():
            _rename(self.path, self.label)
        self.label = ""
        os.replace(part, self.path)


def path_of(name: str) -> Path:
    return Path(f"data/studies/{name}.sqlite3")


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Locks the study at `path`; a lock ends with its process. raises: InputError if another run has it"""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_suffix(".lock")
    try:
        with FileLock(lock, timeout=0):
            lock.write_text(str(os.getpid()), encoding="utf-8")
            yield
    except Timeout:
        holder = lock.read_text(encoding="utf-8") or "(number not known yet)"
        raise InputError(f"{path}: locked by process {holder}; wait for it, or stop it") from None


def open_study(path: Path, fingerprint: dict) -> StudyFile:
    """The study with this fingerprint: at `path`, renamed, or new; raises: as `load`"""
    present = load(path) if path.exists() else None
    before = fingerprint_of(present.study) if present else {}
    if present and before == fingerprint:
        return present
    label = _digest(before)[:8]
    if renamed := _renamed(path, fingerprint):
        if present:
            _rename(path, label)
        print(f"{path} continues {renamed.path.name}, the study of these settings", flush=True)
        renamed.path = renamed.path.rename(path)
        return renamed
    if present:
        what = f"{changed(fingerprint, before)} changed"
        print(f"{path} starts from scratch: {what}; its first result will rename the old study", flush=True)
    database, storage = _database()
    study = optuna.create_study(storage=storage, study_name=path.stem, direction="maximize")
    with warnings.catch_warnings(category=optuna.exceptions.ExperimentalWarning, action="ignore"):
        study.set_metric_names(["accuracy"])  # "experimental" since 2023
    set_fingerprint(study, fingerprint)
    return StudyFile(path, study, database, label)


def load(path: Path) -> StudyFile:
    """The study in a file; raises: InputError if the file is damaged, or a result was changed since it was saved"""
    content = path.read_bytes()
    try:
        database, storage = _database(content)
        for check in ("integrity_check(1)", "foreign_key_check"):
            found = database.execute(f"PRAGMA {check}").fetchone()
            if found not in (None, ("ok",)):
                raise ValueError(f"{check} finds {found[0]}")
        study = optuna.load_study(storage=storage, study_name=None)
        wrong = _fault(study)
    except Exception as error:  # whatever a damaged file can raise
        wrong = f"the file is damaged: {error.__cause__ or error}"
    if wrong:
        way = f"after `mv {path} {path}.old`, `git restore {path}` gets the committed study, the next run begins anew"
        raise InputError(f"{path}: {short(wrong)}; {way}")
    return StudyFile(path, study, database)


def add(study: optuna.Study, parameters: Parameters, distributions: dict[str, Any]) -> None:
    """Appends a trial that is to be evaluated."""
    study.add_trial(optuna.create_trial(state=TrialState.WAITING, params=parameters, distributions=distributions))


def start(study: optuna.Study, trial: FrozenTrial) -> None:
    """Sets the start of the evaluation to now, also of a trial that a kill left running."""
    for state in (TrialState.WAITING, TrialState.RUNNING):
        study._storage.set_trial_state_values(trial._trial_id, state)


def has_result(trial: FrozenTrial) -> bool:
    return DIGEST in trial.user_attrs


def results(trials: Iterable[FrozenTrial]) -> list[dict[str, Any]]:
    """The result of each trial that has one, in order."""
    return [_outcome(trial.user_attrs) for trial in trials if has_result(trial)]


def fingerprint_of(study: optuna.Study) -> dict:
    return study.user_attrs.get("fingerprint", {})


def set_fingerprint(study: optuna.Study, fingerprint: dict) -> None:
    study.set_user_attr("fingerprint", fingerprint)
    study.set_user_attr(DIGEST, _digest(fingerprint))


def _database(content: bytes = b"") -> tuple[sqlite3.Connection, RDBStorage]:
    """A database in memory, with the content of a file or empty, and Optuna's storage for it."""
    database = sqlite3.connect(":memory:", check_same_thread=False)
    if content:
        database.deserialize(content)
    engine = {"creator": lambda: database, "poolclass": StaticPool}
    return database, RDBStorage("sqlite://", engine, skip_table_creation=bool(content))


def _fault(study: optuna.Study) -> str | None:
    """What is inconsistent in a study, such as a result that was changed since it was saved; None: nothing."""
    wrong, fingerprint = "not as it was kept: the file was changed or is damaged", fingerprint_of(study)
    if study.user_attrs.get(DIGEST) != _digest(fingerprint) or study.direction.name != "MAXIMIZE":
        return f"what determines its trials is {wrong}"
    for number, trial in enumerate(study.get_trials(deepcopy=False)):
        kept = trial.user_attrs
        digest = _digest([trial.params, _outcome(kept)])
        as_kept = (trial.state, trial.value, kept.get(DIGEST)) == (TrialState.COMPLETE, kept.get("accuracy"), digest)
        ended = trial.state.is_finished() or has_result(trial)
        if trial.number != number or (ended and not as_kept):
            return f"trial {number} is {wrong}"
    return None


def _renamed(path: Path, fingerprint: dict) -> StudyFile | None:
    """The renamed study with this fingerprint; if there are several, the one with most trials."""
    names = path.parent.glob(f"{path.stem}-{_digest(fingerprint)[:8]}*{path.suffix}")
    found = [file for file in map(load, names) if fingerprint_of(file.study) == fingerprint]
    return max(found, key=lambda file: len(file.study.trials), default=None)


def _rename(path: Path, label: str) -> None:
    """Renames a study's file, without overwriting another one."""
    names = (path.with_stem(f"{path.stem}-{label}" + f"-{number}" * (number > 1)) for number in itertools.count(1))
    old = path.rename(next(name for name in names if not name.exists()))
    print(f"{path}: the old study is now {old}", flush=True)


def _outcome(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The result in the user attributes of a trial."""
    return {name: value for name, value in attributes.items() if name not in (DIGEST, SECONDS)}


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
