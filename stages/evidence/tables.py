"""Tables of trials: read again as they were written, and put in a few numbers."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

Row = Mapping[str, str]


def read(path: Path) -> list[Row]:
    """The rows of a table, each a mapping of column names to text."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def numbers(rows: Sequence[Row], column: str) -> np.ndarray:
    """A column of numbers: float array (n,)."""
    return np.array([float(row[column]) for row in rows])


def spread(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Minimum, median and maximum of at least one value."""
    return {"min": float(np.min(values)), "median": float(np.median(values)), "max": float(np.max(values))}
