"""Trials on a Dask cluster: the same evaluations, on as many machines as its scheduler has workers."""

import hashlib
import io
import pkgutil
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import distributed
from cloudpickle import register_pickle_by_value

from stages.settings.params import InputError, Params
from stages.study.fingerprint import Trial
from stages.study.local import WorkerDied

PROJECT = Path(__file__).parents[1]


class Cluster:
    """The workers of a Dask scheduler; a context manager, used as `local.Workers` is.

    They need this project's dependencies, but neither its code nor its data: both are sent, once to each worker, also
    to one that comes later.

    trial:        the class that evaluates
    settings:     of the study
    determinants: the fingerprint of nothing proposed, which every worker must find to be its own
    raises:       InputError if there is no scheduler, or a worker that cannot compute the same
    """

    def __init__(self, address: str, trial: type[Trial], settings: Params, determinants: dict):
        named = f"params.yaml: run.scheduler = {address!r}"
        data = {str(path): path.read_bytes() for path in trial.files(settings)}
        trial_name = f"{trial.__module__}:{trial.__name__}"
        project = Project(_packed(PROJECT), data, trial_name, settings.model_dump_json(), determinants)
        try:
            self._client = distributed.Client(address, timeout=10)
        except (OSError, ValueError) as error:
            raise InputError(f"{named}: no scheduler answers: {' '.join(str(error).split())}") from None
        try:
            self._client.register_plugin(project, name=project.name)
        except Exception as error:  # whatever a worker lacks
            self._client.close()
            raise InputError(f"{named}: a worker is not ready: {error}") from None
        self._project = project.name

    def run(self, tasks: Mapping[int, dict], started: Callable[[int], object]) -> Iterator[tuple[int, Any]]:
        """The number of each task with its result, in the order in which they are ready.

        started: called with the number of a task when it is handed to the scheduler
        raises:  WorkerDied if the scheduler gives a task up, by default after four workers that died of it
        """
        futures = {}
        for number, task in tasks.items():
            futures[self._client.submit(_evaluate, self._project, task, pure=False)] = number
            started(number)
        for future in distributed.as_completed(futures):
            try:
                yield futures[future], future.result()
            except distributed.scheduler.KilledWorker:
                raise WorkerDied(futures[future], tasks[futures[future]]) from None

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()  # results of what still runs are dropped


class Project(distributed.WorkerPlugin):
    """Brings code, data and settings to a worker and readies it for evaluations.

    Its methods import what they need of the project where they need it: before them, the project is not there.
    """

    def __init__(self, code: bytes, data: dict[str, bytes], trial: str, settings: str, determinants: dict):
        self.code, self.data, self.trial = code, data, trial
        self.settings, self.determinants = settings, determinants
        # Other code or settings are another plugin.
        self.name = "study-" + hashlib.sha256(code + (trial + settings).encode()).hexdigest()[:16]

    def setup(self, worker: distributed.Worker) -> None:
        """Called by Dask in every worker, before its first task."""
        if worker.state.nthreads != 1:  # torch's random numbers and number of threads are those of the process
            raise RuntimeError(f"{worker.address} has {worker.state.nthreads} threads; start it with --nthreads 1")
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
        from stages.study.fingerprint import fingerprint
        from stages.study.local import timed

        trial = pkgutil.resolve_name(self.trial)
        settings = Params.model_validate_json(self.settings)
        own = fingerprint(settings, {}, trial)
        if changed := [key for key in own if own[key] != self.determinants[key]]:
            raise RuntimeError(f"{worker.address} has other {', '.join(changed)}: {own['versions']}")
        try:
            evaluation = trial(settings, folder)  # checks the data by its hashes
        except SystemExit as refused:
            raise RuntimeError(f"{worker.address}: {refused}") from None
        self.evaluate = lambda task: timed(evaluation, task)


def _evaluate(project: str, task: dict) -> Any:
    plugin: Any = distributed.get_worker().plugins[project]
    return plugin.evaluate(task)


# Neither the scheduler nor a worker can import this module: it is sent by value. Dask tries pickle first, which sends a
# reference and does not fail, unless the name belongs to __main__.
register_pickle_by_value(sys.modules[__name__])
Project.__module__ = _evaluate.__module__ = "__main__"


def _packed(folder: Path) -> bytes:
    """The modules of the package in `folder`, zipped: the same bytes for the same code."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for module in sorted(folder.rglob("*.py")):
            archive.writestr(zipfile.ZipInfo(str(module.relative_to(folder.parent))), module.read_bytes())
    return packed.getvalue()
