"""`python -m stages NAME [ENTRY]` runs a stage, or one for an entry of params.yaml.

Settings are checked before slow imports. A stage publishes all of its results at its end, or none.
"""

import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from stages.common.errors import InputError, run_main

SECTIONS = {"trials": "studies", "figures": "figures"}  # sections whose entries are stages
STAGES = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def main() -> None:
    name, *entry = sys.argv[1:] or [""]

    def end(*_: object) -> None:
        os.write(2, f"{name}: interrupted before it began\n".encode())
        os._exit(1)

    _on_interrupt(end)  # imports turn Ctrl-C into other errors; until they are done, there is nothing to tidy up
    from stages.common import files
    from stages.settings import params

    if name not in STAGES:
        raise InputError(f"python -m stages {name}: no such stage; accepted: {', '.join(STAGES)}")
    settings = params.load()
    if section := SECTIONS.get(name):
        names = sorted(getattr(settings, section).keys() - STAGES)  # the sweep is a stage of its own
        if " ".join(entry) not in names:
            accepted = ", ".join(names) or "none defined"
            raise InputError(f"{params.PATH}: {section} has no entry {' '.join(entry)!r}; accepted: {accepted}")
    elif entry:
        raise InputError(f"python -m stages {name}: takes no further argument, is given {' '.join(entry)!r}")
    stage = import_module(f"stages.{name}")
    interrupted = []

    def interrupt(*_: object) -> None:
        interrupted.append(True)
        raise KeyboardInterrupt

    try:
        _on_interrupt(interrupt)
        with files.together():
            stage.main(settings, *entry)
            _on_interrupt(signal.SIG_IGN)  # publishing all results is not interrupted
    except (KeyboardInterrupt, Exception) as error:
        # During a commit, the database turns an interrupt into another error.
        if interrupted:
            what = "interrupted"
        elif isinstance(error, OSError):
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        else:
            raise
        raise InputError(f"{'@'.join([name, *entry])}: {what}; existing results and finished trials are kept") from None


def _on_interrupt(handler: Any) -> None:
    for sent in (signal.SIGINT, signal.SIGTERM):  # SIGTERM, from batch systems, ends like Ctrl-C
        signal.signal(sent, handler)


if __name__ == "__main__":
    run_main(main)
