"""Input errors: one line that names the key or file, its value, and what is accepted."""

import os
import sys
from collections.abc import Callable


class InputError(Exception):
    """The user's input is wrong; the message has one line for each fault."""


def run_main(main: Callable[[], None]) -> None:
    """Calls `main`; an InputError ends the process with its message on standard error and status 1."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed: the next file opened would get its number, and the output
            number = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, "r+", encoding="utf-8"))  # noqa: PTH123, SIM115
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        main()
    except InputError as error:
        sys.exit(str(error))


def reason(error: Exception) -> str:
    """The message of an error, in one line."""
    return short(str(error)) or type(error).__name__


def short(text: str) -> str:
    """One line of printable characters, cut after 300."""
    text = "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))
    return text if len(text) <= 300 else text[:300] + "…"
