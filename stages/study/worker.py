"""What a Dask worker runs, sent as text (see `cluster`): of the project it has what `ready` has brought."""

import pkgutil
import platform
import sys
import time
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import distributed


class Project(distributed.WorkerPlugin):
    """Readies a worker for evaluations; `sent` are the arguments of `ready`."""

    def __init__(self, **sent: Any):
        self.sent = sent
        self.unfit: str | None = None  # why this worker gets no trial

    def setup(self, worker: Any) -> None:
        """Called by Dask in every worker, before its first task."""
        try:
            self.evaluate = ready(worker, **self.sent)
        except Exception as error:  # whatever it lacks
            self.unfit = str(error)


def ready(
    worker: Any, project: str, files: dict, trial: str, settings: str, determinants: dict, python: str
) -> Callable[[dict], dict]:
    """The function that evaluates tasks, with code and data in the folder `project`.

    files:        the content of each module and of each file that a trial reads, by path
    trial:        the class that evaluates, as module:name
    settings:     of the study, as JSON
    determinants: the fingerprint of nothing proposed, which the worker must find as well
    python:       the version that the worker must have, such as 3.11
    """
    if not platform.python_version().startswith(f"{python}."):
        raise RuntimeError(f"has Python {platform.python_version()}; accepted: {python}, as here")
    if worker.state.nthreads != 1:  # random numbers and threads are the process's
        raise RuntimeError(f"has {worker.state.nthreads} threads; start it with --nthreads 1")
    folder = Path(worker.local_directory, project)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    for name in [name for name in sys.modules if name.partition(".")[0] == "stages"]:
        del sys.modules[name]  # another study's
    sys.path.insert(0, str(folder))
    from stages.settings.params import Params
    from stages.study.fingerprint import changed, fingerprint
    from stages.study.local import timed

    kind, values = pkgutil.resolve_name(trial), Params.model_validate_json(settings)
    with chdir(folder):  # where the data lies
        own = fingerprint(values, {}, kind)
    if other := changed(own, determinants):
        raise RuntimeError(f"has other {other}: {own['versions']}")
    evaluation = kind(values, folder)  # checks the data by its hashes
    return lambda task: timed(evaluation, task)


def evaluate(project: str, task: dict) -> dict | tuple[str, str]:
    """The result, or this worker's address and why another one must do it."""
    worker: Any = distributed.get_worker()
    if reason := unfit(project, worker):
        time.sleep(1)  # a moment for another worker to take it
        return worker.address, reason
    return worker.plugins[project].evaluate(task)


def unfit(project: str, dask_worker: Any) -> str | None:
    """Why a worker gets no trial."""
    plugin = dask_worker.plugins.get(project)
    return plugin.unfit if plugin else "not set up"
