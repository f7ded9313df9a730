"""What a Dask worker runs. It is sent as text (see `cluster`), as a worker has Dask, but not this project.

So it imports of the project only after `Project` has brought it.
"""

import pkgutil
import platform
import sys
import time
from contextlib import chdir
from pathlib import Path
from typing import Any

import distributed


class Project(distributed.WorkerPlugin):
    """Brings code, data and settings to a worker and readies it for evaluations.

    code:         of this project, zipped
    data:         the content of each file that a trial reads
    trial:        the class that evaluates, as module:name
    settings:     of the study, as JSON
    determinants: the fingerprint of nothing proposed, which every worker must find to be its own
    python:       the version that the worker must have, such as 3.11
    """

    def __init__(self, name: str, code: bytes, data: dict, trial: str, settings: str, determinants: dict, python: str):
        self.name, self.code, self.data, self.trial = name, code, data, trial
        self.settings, self.determinants, self.python = settings, determinants, python
        self.unfit: str | None = None  # why this worker gets no trial

    def setup(self, worker: Any) -> None:
        """Called by Dask in every worker, before its first task."""
        try:
            self._ready(worker)
        except Exception as error:  # whatever it lacks
            self.unfit = str(error)

    def _ready(self, worker: Any) -> None:
        if not platform.python_version().startswith(f"{self.python}."):
            raise RuntimeError(f"has Python {platform.python_version()}; accepted: {self.python}, as here")
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


def evaluate(project: str, task: dict) -> dict | tuple[str, str]:
    """The result, or this worker's address and why it has none to give: then the task is for another one."""
    worker: Any = distributed.get_worker()
    if reason := unfit(project, worker):
        time.sleep(1)  # a moment for another worker to take it
        return worker.address, reason
    return worker.plugins[project].evaluate(task)


def unfit(project: str, dask_worker: Any) -> str | None:
    """Why a worker gets no trial."""
    plugin = dask_worker.plugins.get(project)
    return plugin.unfit if plugin else "not set up"
