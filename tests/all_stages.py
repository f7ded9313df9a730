"""Runs the stages of dvc.yaml that are not named, one after the other, in processes forked from one with all imports.

The same stages as `dvc repro` runs, without a start of Python for each and without workers: `dvc commit` records them.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path()))
from stages import __main__, figures, fold, report, resnet, trials
from stages.lenet import once
from stages.settings.params import Params
from stages.study import runner
from stages.study.local import timed
from stages.vision import trial as vision_trial

IMPORTED = (figures, fold, report, resnet, trials, once, vision_trial)  # by all, once


class InProcess:
    """Workers that are this process."""

    def __init__(self, settings: Params, trial: type):
        self.evaluation = trial(settings)

    def run(self, tasks: Mapping[int, dict], started: Callable[[int], object]) -> Iterator[tuple[int, Any]]:
        for number, task in tasks.items():
            started(number)
            yield number, timed(self.evaluation, task)


def main() -> None:
    done, settings = set(sys.argv[1:]), yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    for name, stage in yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"].items():
        for entry in settings[stage["foreach"][2:-1]] if "foreach" in stage else [None]:
            if name not in done:
                run(name, *([entry] if entry else []))


def run(*command: str) -> None:
    child = os.fork()
    if not child:
        try:
            sys.argv = ["stages", *command]
            runner.executor = lambda settings, _, trial: nullcontext(InProcess(settings, trial))  # type: ignore
            __main__.main()
            sys.stdout.flush()
            os._exit(0)
        except BaseException as error:
            print(f"{' '.join(command)}: {error!r}", flush=True)
            os._exit(1)
    if os.waitpid(child, 0)[1]:
        sys.exit(1)


if __name__ == "__main__":
    main()
