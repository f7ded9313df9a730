"""Tables of trials: read again as they were written, and put in a few numbers."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.common import files

Row = Mapping[str, Any]


def read(path: Path) -> list[Row]:
    """The rows of a table, each a mapping of column names to text."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def read_compared(name: str) -> list[Row]:
    """The rows of a comparison's table, each with what the trials of its point are told."""
    points = files.read_json(Path(f"metrics/{name}.json"))
    told = {point: of["parameters"] for point, of in points.items() if point != "seeds"}
    return [told[row["point"]] | row for row in read(Path(f"plots/{name}.csv"))]


def numbers(rows: Sequence[Row], column: str) -> np.ndarray:
    """A column of numbers: float array (n,)."""
    return np.array([float(row[column]) for row in rows])


def spread(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Minimum, median and maximum of at least one value."""
    return {"min": float(np.min(values)), "median": float(np.median(values)), "max": float(np.max(values))}
