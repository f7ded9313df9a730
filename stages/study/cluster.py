"""Trials on a Dask cluster: the same evaluations, on as many machines as its scheduler has workers."""

import hashlib
import io
import logging
import pkgutil
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, chdir, contextmanager, suppress
from pathlib import Path
from typing import Any

import distributed
from cloudpickle import register_pickle_by_value

from stages.common.errors import InputError, short
from stages.settings.params import Params
from stages.study.fingerprint import Trial
from stages.study.local import WorkerDied

PROJECT = Path(__file__).parents[1]
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
        trial_name = f"{trial.__module__}:{trial.__name__}"
        project = Project(_packed(PROJECT), data, trial_name, settings.model_dump_json(), determinants)
        self._project = project.name
        self._unfit: set[str] = set()  # addresses of workers that get no trial
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what goes wrong is said here, in one line
        try:
            self._client = distributed.Client(address, timeout=10)
        except (OSError, TypeError, ValueError) as error:  # a TypeError for tls:// without certificates
            raise InputError(f"{self._named}: no scheduler answers: {short(' '.join(str(error).split()))}") from None
        workers: dict[str, str | None] = {}
        with suppress(OSError):  # of a worker that dies meanwhile
            self._check_python()
            self._client.register_plugin(project, name=project.name)
            workers = self._client.run(_unfit, project.name, on_error="ignore")
        for address, unfit in workers.items():
            if unfit:
                self._say(address, unfit)
        if workers and all(workers.values()):
            self._client.close()
            raise InputError(f"{self._named}: no worker is ready")

    def _check_python(self) -> None:
        """raises: InputError if a process of the cluster has another Python, in which code that is sent would crash"""
        versions: Any = self._client.get_versions()
        here = f"{sys.version_info.major}.{sys.version_info.minor}."
        for name, found in {"scheduler": versions["scheduler"], **versions["workers"]}.items():
            python = found["packages"]["python"]
            if not python.startswith(here):
                self._client.close()
                raise InputError(f"{self._named}: {name} has Python {python}; accepted: {here}x, as here")

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
                future = self._client.submit(_evaluate, self._project, tasks[number], pure=False, **prefer)
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


class Project(distributed.WorkerPlugin):
    """Brings code, data and settings to a worker and readies it for evaluations.

    Its methods import what they need of the project where they need it: before them, the project is not there.
    """

    def __init__(self, code: bytes, data: dict[str, bytes], trial: str, settings: str, determinants: dict):
        self.code, self.data, self.trial = code, data, trial
        self.settings, self.determinants = settings, determinants
        # Other code or settings are another plugin.
        self.name = "study-" + hashlib.sha256(code + (trial + settings).encode()).hexdigest()[:16]
        self.unfit: str | None = None  # why this worker gets no trial

    def setup(self, worker: distributed.Worker) -> None:
        """Called by Dask in every worker, before its first task."""
        try:
            self._ready(worker)
        except Exception as error:  # whatever it lacks
            self.unfit = str(error)

    def _ready(self, worker: distributed.Worker) -> None:
        if worker.state.nthreads != 1:  # torch's random numbers and number of threads are those of the process
            raise RuntimeError(f"has {worker.state.nthreads} threads; start it with --nthreads 1")
        folder = Path(worker.local_directory, self.name)
        folder.mkdir(exist_ok=True)
        (folder / "code.zip").write_bytes(self.code)
        for name, content in self.data.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        for name in [name for name in sys.modules if name.partition(".")[0] == "stages"]:
            del sys.modules[name]  # another study's
        sys.path.insert(0, str(folder / "code.zip"))
        from stages.settings.params import Params
        from stages.study.fingerprint import changed, fingerprint
        from stages.study.local import timed

        trial = pkgutil.resolve_name(self.trial)
        settings = Params.model_validate_json(self.settings)
        with chdir(folder):  # where the data lies
            own = fingerprint(settings, {}, trial)
        if other := changed(own, self.determinants):
            raise RuntimeError(f"has other {other}: {own['versions']}")
        evaluation = trial(settings, folder)  # checks the data by its hashes
        self.evaluate = lambda task: timed(evaluation, task)


def _evaluate(project: str, task: dict) -> dict | tuple[str, str]:
    """The result, or this worker's address and why it has none to give: then the task is for another one."""
    worker: Any = distributed.get_worker()
    if unfit := _unfit(project, worker):
        time.sleep(1)  # a moment for another worker to take it
        return worker.address, unfit
    return worker.plugins[project].evaluate(task)


def _unfit(project: str, dask_worker: distributed.Worker) -> str | None:
    plugin: Any = dask_worker.plugins.get(project)
    return plugin.unfit if plugin else "not set up"


# Neither the scheduler nor a worker can import this module: it is sent by value. Dask tries pickle first, which sends a
# reference and does not fail, unless the name belongs to __main__.
register_pickle_by_value(sys.modules[__name__])
Project.__module__ = _evaluate.__module__ = _unfit.__module__ = "__main__"


def _packed(folder: Path) -> bytes:
    """The modules of the package in `folder`, zipped: the same bytes for the same code."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for module in sorted(folder.rglob("*.py")):
            archive.writestr(zipfile.ZipInfo(str(module.relative_to(folder.parent))), module.read_bytes())
    return packed.getvalue()
