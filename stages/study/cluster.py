"""Trials on a Dask cluster: the same evaluations, on many machines."""

import hashlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import distributed

from stages.common.errors import InputError, short
from stages.settings.params import Params
from stages.study.fingerprint import Trial, fingerprint
from stages.study.local import gave_up

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).with_name("worker.py").read_text(encoding="utf-8")
SAY_AFTER = 5  # seconds without a result, before it is said that there is no worker


class Cluster(AbstractContextManager):
    """The workers of a Dask scheduler; a context manager, used as `local.Workers` is.

    Code and data are sent to each worker, also to one that comes later; it needs the dependencies only. One that cannot
    compute the same is named and gets no trial. Without any worker, trials wait.

    trial:  the class that evaluates
    raises: InputError if there is no scheduler, or if none of its workers can compute the same
    """

    def __init__(self, address: str, trial: type[Trial], settings: Params):
        self._named = f"params.yaml: run.scheduler = {address!r}"
        self._unfit: set[str] = set()  # addresses of workers that get no trial
        code = {str(module.relative_to(ROOT)): module.read_bytes() for module in ROOT.glob("stages/**/*.py")}
        sent: dict[str, Any] = {
            "trial": f"{trial.__module__}:{trial.__name__}",
            "settings": settings.model_dump_json(),
            "determinants": fingerprint(settings, {}, trial),
            "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        }
        self._project = f"study-{hashlib.sha256(repr((code, sent)).encode()).hexdigest()[:16]}"
        sent["project"] = self._project
        sent["files"] = code | {str(path): path.read_bytes() for path in trial.files(settings)}
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # errors are one line here
        try:
            self._client = distributed.Client(address, timeout=10)
        except (OSError, TypeError, ValueError) as error:  # a TypeError for tls:// without certificates
            raise InputError(f"{self._named}: no scheduler answers: {short(str(error))}") from None
        workers: dict[str, str | None] = {}
        with suppress(OSError):  # of a worker that dies meanwhile
            self._client.register_plugin(_Sent("Project(**arguments)", **sent), name=self._project)
            workers = self._client.run(_Sent("unfit"), self._project, on_error="ignore")
        for worker, unfit in workers.items():
            if unfit:
                self._skip(worker, unfit)
        if workers and all(workers.values()):
            self._client.close()
            raise InputError(f"{self._named}: no worker is ready")

    def run(self, tasks: Mapping[int, dict], started: Callable[[int], object]) -> Iterator[tuple[int, Any]]:
        """The number of each task with its result, in the order in which they are ready.

        started: called with the number of a task when it is handed to the scheduler
        raises:  InputError if the scheduler dies, or gives up a task of which workers die
        """
        try:
            futures = {self._submit(task): number for number, task in tasks.items()}
            for number in tasks:
                started(number)
            while futures:
                for future in self._done(list(futures)):
                    number = futures.pop(future)
                    result = future.result()
                    if isinstance(result, tuple):
                        self._skip(*result)
                        futures[self._submit(tasks[number])] = number
                    else:
                        yield number, result
        except distributed.scheduler.KilledWorker:
            raise gave_up(number, tasks[number]) from None
        except (CancelledError, distributed.comm.CommClosedError, ValueError):  # the last of its client
            gone = "the scheduler is gone; finished trials are kept, the next run continues from them"
            raise InputError(f"{self._named}: {gone}") from None

    def _submit(self, task: dict) -> distributed.Future:
        # An unfit worker is idle, and Dask would ask it first, again and again.
        fit = [worker for worker in self._client.nthreads() if worker not in self._unfit] if self._unfit else []
        text = _text("evaluate(**arguments)", project=self._project, task=task)
        return self._client.submit(eval, *text, pure=False, workers=fit or None, allow_other_workers=bool(fit))

    def _done(self, futures: list[distributed.Future]) -> set[distributed.Future]:
        """Those that are ready, as soon as there are any."""
        while True:
            with suppress(TimeoutError):
                return distributed.wait(futures, SAY_AFTER, "FIRST_COMPLETED").done
            with suppress(OSError):  # of a scheduler that is gone, as the next wait tells
                if not self._client.nthreads():
                    print(f"{self._named}: no workers yet; waiting", flush=True)
                    self._client.wait_for_workers(1)

    def _skip(self, worker: str, unfit: str) -> None:
        if worker not in self._unfit:
            self._unfit.add(worker)
            print(f"{self._named}: {worker}: {unfit}; worker skipped", flush=True)

    def __exit__(self, *_: object) -> None:
        self._client.close(timeout=2)  # results of what still runs are dropped


def _text(expression: str, **arguments: Any) -> tuple[str, dict]:
    """What `eval` gets, to compute an expression in the names of worker.py.

    A pickled function would be code of this Python, by which another one dies.
    """
    names = {"arguments": arguments}
    return "exec(source, names) or eval(called, names)", {"source": SOURCE, "names": names, "called": expression}


class _Sent(distributed.WorkerPlugin):
    """What a worker gets as the value of an expression."""

    def __init__(self, expression: str, **arguments: Any):
        self._text = _text(expression, **arguments)

    def __reduce__(self) -> tuple:
        return eval, self._text
