"""Runs a study: evaluates trials in parallel, none of them twice, and saves each result at once."""

import functools
import itertools
import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
import torch
from optuna.trial import FrozenTrial
from tqdm import tqdm

from stages.common import device, files, tables
from stages.common.errors import InputError
from stages.settings import progress
from stages.settings.params import Params
from stages.study import store
from stages.study.fingerprint import Trial, fingerprint
from stages.study.local import Workers
from stages.study.proposals import Plan

# Bytes for each worker, with room to spare: peaks are 0.8 GiB for LeNet (metrics/speed.md), 1.5 GiB for photographs.
WORKER_MEMORY = {"stages.lenet.trial": 2**30, "stages.vision.trial": 2**31}
# Workers for one GPU: each leaves it idle most of the time, but needs a core (metrics/gpu.md). On LeNet, each takes
# 1.1 GiB of an H200's memory: twice WORKER_MEMORY leaves room.
GPU_WORKERS = 4
CGROUP = Path("/sys/fs/cgroup")


def run(name: str, settings: Params, plan: Plan, trial: type[Trial]) -> None:
    """Evaluates the trials that have no result, saves them in data/studies/, and writes the table of all trials."""
    runs_on, path = device.prepare(settings.run.device), store.path_of(name)
    for model in (file for file in trial.files(settings) if file.suffix == ".pt"):
        files.check_model(model)  # the fingerprint holds its hash
    with store.hold(path):
        file = store.open_study(path, fingerprint(settings, plan.determinants, trial))
        batches, done = plan.batches(file.study), len(store.results(plan.trials(file.study)))
        said = f"{name}: {done}/{plan.total} trials done"
        if lacking := next(batches, None):
            trial.check(settings)  # only now: otherwise the data may be missing
            count = min(worker_count(settings, trial, runs_on), plan.total - done)
            where = settings.run.scheduler or f"{count} at a time, on {device.describe(runs_on)}"
            print(f"{said}; running the rest, {where}", flush=True)
            with executor(settings, count, trial) as workers, progress.bar(name, plan.total, "trials", done) as bar:
                _evaluate(file, plan, itertools.chain([lacking], batches), workers, bar)
        else:
            print(said, flush=True)
    results = store.results(plan.trials(file.study))
    tables.write(name, plan.rows(file.study), results)
    count, best = len(results), max(result["accuracy"] for result in results)
    print(f"{name}: {count} trial{'s' * (count != 1)} in {tables.path(name)}, best accuracy {best:.4f}", flush=True)


def _evaluate(file: store.StudyFile, plan: Plan, batches: Iterable[list[FrozenTrial]], workers: Any, bar: tqdm) -> None:
    for batch in batches:
        trials = {trial.number: trial for trial in batch}
        tasks = {number: plan.fixed | trial.params for number, trial in trials.items()}
        for number, result in workers.run(tasks, lambda number: store.start(file.study, trials[number])):  # noqa: B023
            file.keep(trials[number], result)
            bar.set_postfix_str(f"best accuracy {file.study.best_value:.4f}", refresh=False)
            bar.update()


def executor(settings: Params, count: int, trial: type[Trial]) -> AbstractContextManager[Any]:
    """The cluster that `run.scheduler` names, or processes on this machine."""
    if not settings.run.scheduler:
        return Workers(count, functools.partial(trial, settings))
    try:
        from stages.study.cluster import Cluster
    except ImportError:
        needs = "Dask, which is not installed: pip install -c .constraints.txt '.[cluster]'"
        raise InputError(f"run.scheduler needs {needs}") from None
    return Cluster(settings.run.scheduler, trial, settings)


def worker_count(settings: Params, trial: type[Trial], runs_on: torch.device) -> int:
    """How many trials run at a time, by cores and memory; on a GPU at most GPU_WORKERS."""
    if settings.run.workers != "auto":
        return int(settings.run.workers)
    if runs_on.type == "mps":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free = psutil.virtual_memory().available
    # A container's limits for both: cgroups, version 2.
    paths = [CGROUP / name for name in ("cpu.max", "memory.max", "memory.stat")]
    texts = [path.read_text(encoding="utf-8") if path.exists() else "max" for path in paths]  # max: no limit
    quota, limit, stat = map(str.split, texts)
    if "max" not in quota:
        cores = min(cores, int(quota[0]) // int(quota[1]))
    if "max" not in limit:
        free = min(free, int(limit[0]) - int(stat[stat.index("anon") + 1]))  # without caches
    needed = WORKER_MEMORY.get(trial.__module__, 2**30)
    count, fit = max(1, cores // trial.threads(settings)), max(1, free // needed)
    if runs_on.type == "cuda":
        memory = torch.cuda.get_device_properties(runs_on).total_memory
        count = max(1, min(count, GPU_WORKERS, memory // (2 * needed)))
    if count > fit:
        said = f"run.workers: {fit} instead of {count}, as {free / 2**30:.1f} GiB of memory are free"
        print(f"{said} and a worker takes up to {needed / 2**30:g}", flush=True)
    return min(count, fit)
