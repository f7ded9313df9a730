"""Errors of input: one line that names the key or file, the value, and what would be accepted."""

import sys
from collections.abc import Callable


class InputError(Exception):
    """What is wrong with the user's input, one line for each fault."""


def run_main(main: Callable[[], None]) -> None:
    """Calls `main`; if the input is wrong, the process ends with that line on standard error and status 1."""
    try:
        main()
    except InputError as error:
        sys.exit(str(error))


def short(text: str) -> str:
    """One line of printable characters, shortened."""
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= 300 else text[:300] + "…"
