"""Evaluates trials on a Dask cluster."""

import logging
import pickle
import platform
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import distributed
from dask.base import tokenize

from stages.common.errors import InputError, reason, short
from stages.settings.params import Params
from stages.study.fingerprint import Trial, fingerprint
from stages.study.local import gave_up
from stages.study.worker import Project

ROOT = Path(__file__).parents[2]
# What a worker evaluates: text, as a pickled function holds bytecode, which crashes another Python version.
EVALUATE = "__import__('distributed').get_worker().plugins[project].evaluate(task)"
COUNT_AFTER = 5  # seconds without a result before workers are counted again

logging.disable()  # Dask's: errors are one line here


class Cluster(AbstractContextManager):
    """The workers of a Dask scheduler, used like `local.Workers`.

    Each worker, also one that comes later, gets code and data; it needs only the dependencies. A worker that cannot
    compute the same is reported and skipped. Without workers, trials wait.

    raises: InputError if there is no scheduler, or it has workers but none can compute the same
    """

    def __init__(self, address: str, trial: type[Trial], settings: Params):
        self._named = f"params.yaml: run.scheduler = {address!r}"
        files = {str(module.relative_to(ROOT)): module.read_bytes() for module in ROOT.glob("stages/**/*.py")}
        what = trial, settings, fingerprint(settings, {}, trial)
        self._project = f"study-{tokenize(files, repr(what))}"  # another run's plugin replaces this one
        files |= {str(path): path.read_bytes() for path in trial.files(settings)}
        try:
            self._client = distributed.Client(address, timeout=10)
        except (OSError, TypeError, ValueError) as error:  # a TypeError for tls:// without certificates
            raise InputError(f"{self._named}: no scheduler answers: {reason(error)}") from None
        said = f"{self._named}: {{}}; worker skipped"
        self._client.subscribe_topic(self._project, lambda event: print(said.format(short(event[1])), flush=True))
        workers: Mapping[str, object] = {}
        with suppress(OSError):  # a worker may die meanwhile
            plugin = Project(self._project, files, pickle.dumps(what), platform.python_version())
            workers = self._client.register_plugin(plugin, self._project)
        if workers and not self._ready():
            self._client.close()  # after the reasons have been printed
            raise InputError(f"{self._named}: no worker is ready")

    def run(self, tasks: Mapping[int, dict], started: Callable[[int], object]) -> Iterator[tuple[int, Any]]:
        """As `local.Workers.run`; raises: InputError if the scheduler dies, or gives up a task that kills workers"""
        waiting, running, announced = iter(tasks), dict[distributed.Future, int](), False
        try:
            while True:
                ready = self._ready()
                if not ready and not announced:
                    print(f"{self._named}: no worker is ready; waiting", flush=True)
                announced = not ready
                # Two tasks for each worker, no more: its death counts against all of its tasks.
                room = max(1, 2 * ready) - len(running)
                for number in islice(waiting, max(0, room)):
                    names = {"project": self._project, "task": tasks[number]}
                    future = self._client.submit(eval, EVALUATE, names, pure=False, resources={self._project: 1})
                    running[future] = number
                    started(number)
                if not running:
                    return
                with suppress(TimeoutError):
                    distributed.wait(list(running), COUNT_AFTER, "FIRST_COMPLETED")
                for future in [future for future in running if future.done()]:
                    number = running.pop(future)
                    yield number, future.result()
        except distributed.scheduler.KilledWorker:
            raise gave_up(number, tasks[number]) from None
        except (CancelledError, OSError, ValueError):
            if self._client.status == "running":
                raise
            gone = "the scheduler is gone; finished trials are kept, the next run continues from them"
            raise InputError(f"{self._named}: {gone}") from None

    def _ready(self) -> int:
        """The number of ready workers."""
        workers = self._client.scheduler_info()["workers"].values()
        return sum(worker["resources"].get(self._project, 0) for worker in workers)

    def __exit__(self, *_: object) -> None:
        self._client.close(timeout=2)  # results of running tasks are dropped
