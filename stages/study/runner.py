"""The run of a study: its trials are evaluated side by side, kept as soon as they are done, and none twice."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch
from optuna.trial import FrozenTrial

from stages.common import device, files, tables
from stages.common.errors import InputError
from stages.settings import progress
from stages.settings.params import Parameters, Params
from stages.study import store
from stages.study.design import Planned
from stages.study.fingerprint import Trial, fingerprint
from stages.study.local import WorkerDied, Workers
from stages.study.proposals import Points, Search

if TYPE_CHECKING:
    from stages.study.cluster import Cluster

FROM_SCRATCH = "FROM_SCRATCH"  # the environment variable that asks for all trials to be evaluated again
# Bytes that a worker needs, and some: it peaks at 0.8 GiB on LeNet (metrics/speed.md), at 1.5 GiB on photographs.
WORKER_MEMORY = {"stages.lenet.trial": 2**30, "stages.vision.trial": 2**31}
# That share a GPU: a step leaves it idle most of the time, and each takes a core to feed it (metrics/gpu.md). One takes
# 1.1 GiB of an H200's own memory on LeNet: twice WORKER_MEMORY leaves room.
GPU_WORKERS = 4
CGROUP = Path("/sys/fs/cgroup")

Plan = Search | Points


def run_search(name: str, settings: Params, search: Search, trial: type[Trial]) -> None:
    """Brings a search to its number of trials and writes its table."""
    trials = run(name, settings, search, trial)
    parameters = [{axis: trial.params[axis] for axis in search.space} | search.fixed for trial in trials]
    _write(name, [""] * len(trials), parameters, trials)


def run_points(name: str, settings: Params, planned: Sequence[Planned], trial: type[Trial]) -> None:
    """Evaluates the planned trials and writes their table."""
    parameters = [each.parameters for each in planned]
    _write(name, [each.point for each in planned], parameters, run(name, settings, Points(parameters), trial))


def _write(name: str, points: list[str], parameters: list[Parameters], trials: list[FrozenTrial]) -> None:
    results = store.results(trials)
    tables.write(name, points, parameters, results)
    count, best = len(trials), max(result["accuracy"] for result in results)
    print(f"{name}: {count} trial{'s' * (count != 1)} in {tables.path(name)}, best accuracy {best:.4f}", flush=True)


def run(name: str, settings: Params, plan: Plan, trial: type[Trial]) -> list[FrozenTrial]:
    """All trials of a plan, in order, each with its result.

    Those that the study lacks are evaluated, and kept in data/studies/{name}.sqlite3; data/machine/{name}.json says on
    what.

    trial:  evaluates one; the names of the parameters are its keyword arguments
    raises: InputError, in one line, for whatever stops it
    """
    path = store.FOLDER / f"{name}.sqlite3"
    try:
        runs_on = device.prepare(settings.run.device)
        for model in (file for file in trial.files(settings) if file.suffix == ".pt"):
            files.check_model(model)  # the fingerprint holds its hash
        with store.hold(path):
            return _run(name, path, settings, plan, trial, runs_on)
    except WorkerDied as death:
        number, parameters = death.args
        raise InputError(
            f"{name}: trial {number} {parameters}: its worker died, and again when repeated; is there enough memory?"
        ) from None
    except KeyboardInterrupt:
        raise InputError(
            f"{name}: interrupted; finished trials are in {path}, the next run continues from them"
        ) from None


def _run(
    name: str, path: Path, settings: Params, plan: Plan, trial: type[Trial], runs_on: torch.device
) -> list[FrozenTrial]:
    determinants = fingerprint(settings, plan.determinants(), trial)
    file = store.StudyFile(determinants, path, from_scratch=bool(os.environ.get(FROM_SCRATCH)))
    plan.check(file.study)
    done = store.results(plan.trials(file.study))
    lacking = plan.total - len(done)
    if lacking:  # only then does it matter whether the data is there; nothing has been touched yet
        trial.check(settings)
    count = min(worker_count(settings, trial, runs_on), max(1, lacking))
    where = settings.run.scheduler or f"{count} at a time, on {device.describe(runs_on)}"
    rest = f"; running the rest, {where}" if lacking else ""
    print(f"{name}: {len(done)}/{plan.total} trials done{rest}", flush=True)
    if lacking:
        best = max((result["accuracy"] for result in done), default=0.0)
        with (
            executor(settings, count, trial) as workers,
            progress.bar(name, plan.total, "trials", len(done)) as bar,
        ):
            for result in _evaluated(file, plan, workers):
                best = max(best, result["accuracy"])
                bar.set_postfix_str(f"best accuracy {best:.4f}", refresh=False)
                bar.update()
    file.settle()
    trials = plan.trials(file.study)
    machine = Path(f"data/machine/{name}.json")
    if lacking or not machine.exists():  # a study may have gone on elsewhere, and a cluster has its own devices
        files.write_machine(machine, ", ".join(sorted({result["device"] for result in store.results(trials)})))
    return trials


def _evaluated(file: store.StudyFile, plan: Plan, workers: "Workers | Cluster") -> Iterator[dict]:
    """The results of the trials that the study lacks, in the order in which they are ready; each is kept by then."""
    for batch in plan.batches(file.study):
        trials = {trial.number: trial for trial in batch}
        tasks = {number: plan.fixed | trial.params for number, trial in trials.items()}
        for number, result in workers.run(tasks, lambda number: store.start(file.study, trials[number])):  # noqa: B023
            file.keep(trials[number], result)
            yield result


def executor(settings: Params, count: int, trial: type[Trial]) -> "Workers | Cluster":
    """Who evaluates: the cluster that `run.scheduler` names, or processes on this machine."""
    if settings.run.scheduler:
        try:
            from stages.study.cluster import Cluster
        except ImportError:
            raise InputError(
                "run.scheduler needs Dask, which is not installed: pip install -c .constraints.txt '.[cluster]'"
            ) from None
        return Cluster(settings.run.scheduler, trial, settings, fingerprint(settings, {}, trial))
    return Workers(count, trial, (settings,))


def worker_count(settings: Params, trial: type[Trial], runs_on: torch.device) -> int:
    """How many trials run at a time: as many as there are cores and memory for, on a GPU no more than GPU_WORKERS."""
    if settings.run.workers != "auto":
        return int(settings.run.workers)
    if runs_on.type == "mps":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free = psutil.virtual_memory().available
    # What a container may use, of both: Linux says it in cgroups, version 2.
    quota, limit, stat = (_words(name) for name in ("cpu.max", "memory.max", "memory.stat"))
    if "max" not in quota:
        cores = min(cores, int(quota[0]) // int(quota[1]))
    if "max" not in limit:
        free = min(free, int(limit[0]) - int(stat[stat.index("anon") + 1]))  # without what is only cached
    needed = WORKER_MEMORY.get(trial.__module__, min(WORKER_MEMORY.values()))
    count, fit = max(1, cores // trial.threads(settings)), max(1, free // needed)
    if runs_on.type == "cuda":
        count = max(1, min(count, GPU_WORKERS, torch.cuda.get_device_properties(runs_on).total_memory // (2 * needed)))
    if count > fit:
        print(
            f"run.workers: {fit} instead of {count}, as {free / 2**30:.1f} GiB of memory are free"
            f" and a worker takes up to {needed / 2**30:g}",
            flush=True,
        )
    return min(count, fit)


def _words(name: str) -> list[str]:
    """Those of a file of this process's cgroup; where there is no such file, nothing is limited."""
    path = CGROUP / name
    return path.read_text(encoding="utf-8").split() if path.exists() else ["max"]
