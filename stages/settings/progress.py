"""The progress of a stage: a bar in a terminal, lines in a log file."""

import io
import sys
from typing import Any

from tqdm import tqdm

LOG_FORMAT = "{desc}: {n_fmt}/{total_fmt}{unit} ({percentage:.0f}%), {elapsed} passed, {remaining} left{postfix}"


class _Lines(io.TextIOBase):
    """Writes each new state of tqdm's bar as a line, without control characters."""

    last = ""

    def write(self, text: str) -> int:
        if (state := text.strip()) not in ("", self.last):
            self.last = state
            print(state, file=sys.stderr, flush=True)
        return len(text)


def bar(name: str, total: int, unit: str, done: int = 0, log_seconds: float = 0) -> tqdm:
    """A progress bar on standard error, beginning at `done`; log_seconds: minimum between two lines of a log"""
    options: dict[str, Any] = {"unit": f" {unit}", "unit_scale": total >= 10_000, "miniters": 1}
    if not sys.stderr.isatty():
        options |= {"mininterval": log_seconds, "file": _Lines(), "ncols": 120, "bar_format": LOG_FORMAT}
    return tqdm(total=total, initial=done, desc=name, **options)
