"""`python -m stages NAME` runs a stage, `python -m stages NAME ENTRY` that of an entry of params.yaml.

The settings are checked before anything is imported that takes time. Whatever stops a stage ends in one line.
"""

import os
import signal
import sys
from importlib import import_module
from pathlib import Path

from stages.settings import params
from stages.settings.params import InputError

SECTIONS = {"compare": "comparisons", "follow_up": "follow_ups", "search": "searches"}  # whose entries are stages
STAGES = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def main() -> None:
    name, *entry = sys.argv[1:] or [""]
    if name not in STAGES:
        raise InputError(f"python -m stages {name}: no such stage; accepted: {', '.join(STAGES)}")
    # While modules are imported there is nothing to tidy up, and an import would turn Ctrl-C into errors of its own.
    signal.signal(signal.SIGINT, lambda *_: _interrupted(name))
    settings = params.load()
    if section := SECTIONS.get(name):
        names = sorted(getattr(settings, section))
        if entry not in ([each] for each in names):
            given = " ".join(entry)
            accepted = ", ".join(names) or "none is there"
            raise InputError(f"{params.PATH}: {section} has no entry {given!r}; accepted: {accepted}")
    stage = import_module(f"stages.{name}")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        stage.main(settings, *entry)
    except KeyboardInterrupt:
        raise InputError(f"{name}: interrupted; the results of before are as they were") from None
    except OSError as error:
        if error.filename is None:
            raise
        raise InputError(f"{name}: {error.filename}: {error.strerror}") from None


def _interrupted(name: str) -> None:
    print(f"{name}: interrupted before it began", file=sys.stderr, flush=True)
    os._exit(1)


if __name__ == "__main__":
    main()
