"""Trials on a Dask cluster: the same evaluations, on as many machines as its scheduler has workers."""

import hashlib
import io
import logging
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import distributed

from stages.common.errors import InputError, short
from stages.settings.params import Params
from stages.study.fingerprint import Trial
from stages.study.local import WorkerDied

PROJECT = Path(__file__).parents[1]
SOURCE = Path(__file__).with_name("worker.py").read_text(encoding="utf-8")
SAY_AFTER = 5  # seconds without a result, before it is said that there is no worker


class Cluster(AbstractContextManager):
    """The workers of a Dask scheduler; a context manager, used as `local.Workers` is.

    They need this project's dependencies, but neither its code nor its data: both are sent, once to each worker, also
    to one that comes later. A worker that cannot compute the same is named and gets no trial; as long as there is no
    worker, trials wait for one.

    trial:        the class that evaluates
    settings:     of the study
    determinants: the fingerprint of nothing proposed, which every worker must find to be its own
    raises:       InputError if there is no scheduler, or if none of its workers can compute the same
    """

    def __init__(self, address: str, trial: type[Trial], settings: Params, determinants: dict):
        self._named = f"params.yaml: run.scheduler = {address!r}"
        data = {str(path): path.read_bytes() for path in trial.files(settings)}
        what = {
            "code": _packed(PROJECT),
            "trial": f"{trial.__module__}:{trial.__name__}",
            "settings": settings.model_dump_json(),
        }
        self._project = f"study-{hashlib.sha256(repr(what).encode()).hexdigest()[:16]}"
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        self._unfit: set[str] = set()  # addresses of workers that get no trial
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what goes wrong is said here, in one line
        try:
            self._client = distributed.Client(address, timeout=10)
        except (OSError, TypeError, ValueError) as error:  # a TypeError for tls:// without certificates
            raise InputError(f"{self._named}: no scheduler answers: {short(' '.join(str(error).split()))}") from None
        workers: dict[str, str | None] = {}
        with suppress(OSError):  # of a worker that dies meanwhile
            plugin = _Sent(
                "Project(**arguments)", name=self._project, data=data, determinants=determinants, python=python, **what
            )
            self._client.register_plugin(plugin, name=self._project)
            workers = self._client.run(_Sent("unfit"), self._project, on_error="ignore")
        for address, unfit in workers.items():
            if unfit:
                self._say(address, unfit)
        if workers and all(workers.values()):
            self._client.close()
            raise InputError(f"{self._named}: no worker is ready")

    def run(self, tasks: Mapping[int, dict], started: Callable[[int], object]) -> Iterator[tuple[int, Any]]:
        """The number of each task with its result, in the order in which they are ready.

        started: called with the number of a task when it is handed to the scheduler
        raises:  WorkerDied if the scheduler gives a task up, by default after four workers that died of it; InputError
                 if the scheduler dies
        """
        futures = {}

        def submit(number: int) -> None:
            # A worker that gets none is idle, and Dask would ask it first, again and again: the others are named.
            # Should they die, any worker may have the task.
            with self._alive():
                workers = self._client.nthreads() if self._unfit else ()
                fit = [address for address in workers if address not in self._unfit]
                prefer = {"workers": fit, "allow_other_workers": True} if fit else {}
                text = _text("evaluate(**arguments)", project=self._project, task=tasks[number])
                future = self._client.submit(eval, *text, pure=False, **prefer)
            futures[future] = number

        for number in tasks:
            submit(number)
            started(number)
        while futures:
            for future in self._done(futures):
                number = futures.pop(future)
                try:
                    with self._alive():
                        result = future.result()
                except distributed.scheduler.KilledWorker:
                    raise WorkerDied(number, tasks[number]) from None
                if isinstance(result, tuple):
                    self._say(*result)
                    submit(number)
                else:
                    yield number, result

    def _done(self, futures: Mapping[distributed.Future, int]) -> list[distributed.Future]:
        """Those that are ready, as soon as there are any."""
        said = False
        while True:
            with self._alive(), suppress(TimeoutError):
                return list(distributed.wait(list(futures), SAY_AFTER, "FIRST_COMPLETED").done)
            with suppress(OSError, KeyError):  # the latter of a scheduler that is gone, of which nothing is known
                waits = not self._client.scheduler_info()["workers"]
                if waits and not said:
                    print(f"{self._named}: no workers yet; waiting", flush=True)
                said = waits

    @contextmanager
    def _alive(self) -> Iterator[None]:
        """raises: InputError if the scheduler dies meanwhile"""
        try:
            yield
        except (CancelledError, distributed.comm.CommClosedError, ValueError):  # the last of a client that has given up
            raise InputError(
                f"{self._named}: the scheduler is gone; finished trials are kept, the next run continues from them"
            ) from None

    def _say(self, address: str, unfit: str) -> None:
        if address not in self._unfit:
            self._unfit.add(address)
            print(f"{self._named}: {address}: {unfit}; worker skipped", flush=True)

    def __exit__(self, *_: object) -> None:
        self._client.close(timeout=2)  # results of what still runs are dropped


def _text(expression: str, **arguments: Any) -> tuple[str, dict]:
    """What `eval` gets, to compute an expression in the names of worker.py: text, which each worker's Python compiles.

    A pickled function would be code of this Python, by which another one dies; and workers lack this project's modules.
    """
    names = {"arguments": arguments}
    return "exec(source, names) or eval(called, names)", {"source": SOURCE, "names": names, "called": expression}


class _Sent(distributed.WorkerPlugin):
    """What a worker gets as the value of an expression."""

    def __init__(self, expression: str, **arguments: Any):
        self._text = _text(expression, **arguments)

    def __reduce__(self) -> tuple:
        return eval, self._text


def _packed(folder: Path) -> bytes:
    """The modules of the package in `folder`, zipped: the same bytes for the same code."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for module in sorted(folder.rglob("*.py")):
            archive.writestr(zipfile.ZipInfo(str(module.relative_to(folder.parent))), module.read_bytes())
    return packed.getvalue()
