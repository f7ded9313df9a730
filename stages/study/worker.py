"""What a Dask worker runs, sent as text together with the files of the project (see `cluster`)."""

from __future__ import annotations  # an older Python must reach the check of its version

import functools
import pickle
import platform
import sys
from pathlib import Path
from typing import Any

import distributed


class Project(distributed.WorkerPlugin):
    """Gives a worker the code and data of a study, and checks that it computes the same.

    name:   the resource that trials need, which only a ready worker has
    files:  the content of each module and data file, by path
    trial:  pickled: the class that evaluates, the settings, and the fingerprint that the worker must find too
    python: the version here; the worker needs the same minor version
    """

    def __init__(self, name: str, files: dict, trial: bytes, python: str):
        self.name, self.files, self.trial, self.python = name, files, trial, python

    def __reduce__(self) -> tuple:
        """Pickled as text: bytecode crashes another Python version."""
        names = {"source": Path(__file__).read_text(encoding="utf-8"), "sent": vars(self)}
        return eval, ("exec(source) or Project(**sent)", names)

    async def setup(self, worker: Any) -> None:
        """Dask calls it in every worker, also in one that comes later."""
        ready = 0
        try:
            self._ready(worker)
            ready = 1
        except Exception as error:  # whatever the worker lacks
            await worker.scheduler.log_event(topic=self.name, msg=f"{worker.address}: {error}")
        await worker.set_resources(**{self.name: ready})
        # Dask assigns waiting trials to a worker when its status changes, not when its resources do.
        worker.status = distributed.Status.paused
        worker.status = distributed.Status.running

    def _ready(self, worker: Any) -> None:
        python = platform.python_version()
        if python.split(".")[:2] != self.python.split(".")[:2]:
            raise RuntimeError(f"has Python {python}; here it is {self.python}")
        if worker.state.nthreads != 1:  # threads would share random numbers and settings
            raise RuntimeError(f"has {worker.state.nthreads} threads; start it with --nthreads 1")
        folder = Path(worker.local_directory, self.name)
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        for name in [name for name in sys.modules if name.partition(".")[0] == "stages"]:
            del sys.modules[name]  # another study's
        sys.path.insert(0, str(folder))
        from contextlib import chdir

        from stages.study.fingerprint import changed, fingerprint
        from stages.study.local import timed

        trial, settings, determinants = pickle.loads(self.trial)
        with chdir(folder):  # where the data lies
            own = fingerprint(settings, {}, trial)
        if other := changed(own, determinants):
            raise RuntimeError(f"has other {other}: {own['versions']}")
        self.evaluate = functools.partial(timed, trial(settings, folder))  # which checks the data by its hashes
