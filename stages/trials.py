"""Runs the trials of a study side by side, keeps each as soon as it is there, and evaluates none twice."""

import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError

from stages import device, outputs, progress, study
from stages.fingerprint import Evaluation, Points, fingerprint
from stages.params import InputError, Params, Sweep
from stages.workers import WorkerDied, Workers

if TYPE_CHECKING:
    from stages.cluster import Cluster

FORCE = re.compile("--force|-[a-zA-Z]*f[a-zA-Z]*")  # also among other letters: dvc repro -fs


def run(name: str, settings: Params, wanted: Sweep | Points, evaluation: type[Evaluation]) -> list[FrozenTrial]:
    """All trials of a study, those of a sweep in the order of their numbers, those at given points in theirs.

    What the study lacks is evaluated, and kept in data/studies/{name}.sqlite3; data/machine/{name}.json says on what.

    wanted:     how the trials are proposed; or their parameters, one mapping of names to values for each
    evaluation: what evaluates them; the names of the parameters are its keyword arguments
    raises:     InputError, in one line, for whatever stops it
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what batch systems send ends like Ctrl-C
    path = study.FOLDER / f"{name}.sqlite3"
    try:
        return _run(name, path, settings, wanted, evaluation)
    except (SQLAlchemyError, StorageInternalError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise InputError(f"{path}: {reason}; what it held is kept") from None
    except WorkerDied as death:
        number, params = death.args
        raise InputError(
            f"{name}: trial {number} {params}: its worker died, also when repeated; is there enough memory?"
        ) from None
    except KeyboardInterrupt:
        raise InputError(
            f"{name}: interrupted; what is finished is in {path}, the next run goes on from there"
        ) from None


def _run(
    name: str, path: Path, settings: Params, wanted: Sweep | Points, evaluation: type[Evaluation]
) -> list[FrozenTrial]:
    place = device.prepare(settings.run.device)
    evaluation.check(settings)  # says what is wrong before any worker starts
    kept = study.open_study(fingerprint(settings, wanted, evaluation), path, anew=forced())
    if isinstance(wanted, Sweep):
        total, done, batches = wanted.n_trials, kept.trials[: wanted.n_trials], study.batches(kept, wanted)
    else:
        done = study.listed(kept, wanted)
        total, batches = len(wanted), iter([[trial for trial in done if study.RESULT not in trial.user_attrs]])
    finished = study.results(done)
    fresh = len(finished) < total
    count = worker_count(settings, evaluation.threads(settings), place)
    on = settings.run.scheduler or f"{count} at a time on {device.describe(place)}"
    print(f"{name}: {len(finished)} of {total} trials are there" + (f"; the others: {on}" if fresh else ""), flush=True)
    best = max((result["accuracy"] for result in finished), default=0.0)
    with pool(settings, count, evaluation) as workers, progress.bar(name, total, "trials", len(finished)) as bar:
        for batch in batches:
            trials = {trial.number: trial for trial in batch}
            for number, result in workers.run({number: trial.params for number, trial in trials.items()}):
                study.keep(kept, trials[number], result)
                best = max(best, result["accuracy"])
                bar.set_postfix_str(f"best accuracy {best:.4f}", refresh=False)
                bar.update()
    machine = Path(f"data/machine/{name}.json")
    if fresh or not machine.exists():
        outputs.write_machine(machine, device.describe(place))
    return kept.trials[:total] if isinstance(wanted, Sweep) else study.listed(kept, wanted)


def forced() -> bool:
    """Whether the DVC that runs this stage was started with --force: then all trials are evaluated again."""
    # DVC tells a stage its name, but not this, and it keeps the study, which persists.
    commands = [parent.cmdline() for parent in psutil.Process().parents()] if "DVC_STAGE" in os.environ else []
    return any(
        Path(word).stem == "dvc" and any(map(FORCE.fullmatch, command)) for command in commands for word in command[:2]
    )


def pool(settings: Params, count: int, evaluation: type[Evaluation]) -> "Workers | Cluster":
    """Who evaluates: the cluster that `run.scheduler` names, or processes on this machine."""
    if settings.run.scheduler:
        try:
            from stages.cluster import Cluster
        except ImportError:
            raise InputError(
                "run.scheduler needs Dask, which is not installed: pip install -c .constraints.txt '.[cluster]'"
            ) from None
        return Cluster(settings.run.scheduler, evaluation, settings, fingerprint(settings, [], evaluation))
    return Workers(count, evaluation, (settings,))


def worker_count(settings: Params, threads: int, place: torch.device) -> int:
    """How many trials run at a time: one on a GPU, else one for each `threads` cores that there are for us."""
    if settings.run.workers != "auto":
        return int(settings.run.workers)
    if place.type != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads)
