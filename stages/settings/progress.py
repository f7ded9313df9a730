"""How far a stage is: a bar in a terminal, one line after the other in a log file."""

import sys

from tqdm import tqdm

LOG_FORMAT = "{desc}: {n_fmt}/{total_fmt} ({percentage:.0f}%), {elapsed} passed, {remaining} left{postfix}"


class _Lines:
    """A stream for tqdm that writes each state of the bar as a line of its own, instead of over the one before."""

    def __init__(self) -> None:
        self._last = ""

    def write(self, text: str) -> None:
        # What tqdm draws for the terminal's sake alone, blanks and the last state once more, is no news to a log.
        if (text := text.strip()) and text != self._last:
            self._last = text
            print(text, file=sys.stderr)

    def flush(self) -> None:
        sys.stderr.flush()


def bar(name: str, total: int, unit: str, done: int = 0, log_seconds: float = 0) -> tqdm:
    """A progress bar on standard error, with the time left.

    done:        how much of `total` is there before the start
    log_seconds: at least so many seconds lie between two lines of a log
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        initial=done,
        desc=name,
        unit=f" {unit}",
        unit_scale=total >= 10_000,
        mininterval=0.1 if terminal else log_seconds,
        miniters=1,
        file=sys.stderr if terminal else _Lines(),
        ncols=None if terminal else 120,
        bar_format=None if terminal else LOG_FORMAT,
    )
