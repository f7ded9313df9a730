"""Commands of the project in forks of a process that has imported the libraries: a start of Python with them takes 3 s.

Only the libraries: the fork imports the project's code from the folder that the command runs in.
"""

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["dvc.cli", "matplotlib.pyplot", "optuna.storages._rdb.storage", "pandas", "scipy.stats", "timm", "torchvision"]
)


def run(folder: Path, command: Sequence[str], env: Mapping[str, str], timeout: float = 1800) -> tuple[int, str]:
    """Status and output of `dvc ...`, `python -m MODULE ...`, `python FILE ...` or `stages NAME ...` (see `stages`)."""
    with tempfile.NamedTemporaryFile() as log:
        process = FORKS.Process(target=_main, args=(str(folder), tuple(command), dict(env), log.name))
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(
                sys.modules, "__main__", ModuleType("__main__")
            )  # else the fork imports what this process ran
            process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
        assert process.exitcode is not None
        return process.exitcode, log.read().decode(errors="replace")


def _main(folder: str, command: tuple[str, ...], env: dict[str, str], log: str) -> None:
    for number, file in enumerate((os.devnull, log, log)):
        os.dup2(os.open(file, os.O_RDWR | os.O_APPEND), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:] = ["", *(path for path in sys.path if not Path(path or ".").is_relative_to(ROOT) or ".venv" in path)]
    program, *sys.argv = command
    if program == "dvc":
        from dvc.cli import main

        sys.exit(main(sys.argv))
    elif program == "stages":
        stages(*sys.argv)
    elif sys.argv[0] == "-m":
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        script = Path(sys.argv[0]).absolute()  # as Python has it in __file__
        sys.path[0] = str(script.parent)
        runpy.run_path(str(script), run_name="__main__")


def stages(*names: str) -> None:
    """Runs stages of dvc.yaml, of a template all entries, in this process and without workers; DVC is not asked."""
    from stages import __main__
    from stages.study import runner

    runner.executor = lambda settings, _, trial: nullcontext(InProcess(trial(settings)))  # type: ignore[assignment]
    pipeline, settings = (yaml.safe_load(Path(f"{name}.yaml").read_text()) for name in ("dvc", "params"))
    for name in names:
        stage = pipeline["stages"][name]
        for entry in settings[stage["foreach"].strip("${}")] if "foreach" in stage else [None]:
            sys.argv = ["stages", name, *([entry] if entry else [])]
            __main__.main()


class InProcess:
    """Workers that are this process."""

    def __init__(self, evaluation: Callable[..., dict]):
        self.evaluation = evaluation

    def run(self, tasks: Mapping[int, dict], started: Callable[[int], object]) -> Iterator[tuple[int, Any]]:
        from stages.study.local import timed

        for number, task in tasks.items():
            started(number)
            yield number, timed(self.evaluation, task)
