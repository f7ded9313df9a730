"""Tables of trials, plots/trials/NAME.csv: a row for each trial and epoch, with all its parameters and outcomes."""

import csv
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.common import files
from stages.common.errors import InputError
from stages.common.files import Exact

FOLDER = Path("plots/trials")
Row = Mapping[str, str]


def path(study: str) -> Path:
    return FOLDER / f"{study}.csv"


def write(study: str, points: Sequence[str], parameters: Sequence[Mapping], results: Sequence[Mapping]) -> None:
    """Writes the table of a study; element i of each argument is of trial i.

    points:     the name of the point that the trial is at; empty for trials of a search
    parameters: of the trial, written with every digit, so that it can be repeated
    results:    as `fingerprint.Trial` gives them; those by epoch become rows, the others are in the last epoch's
    """
    rows = []
    for number, (point, of_trial, last) in enumerate(zip(points, parameters, results, strict=True)):
        accuracies = last.get("accuracy_by_epoch") or [last["accuracy"]]
        losses = last.get("loss_by_epoch") or [last["loss"]]
        first = {name: repr(value) if isinstance(value, float) else value for name, value in of_trial.items()}
        for epoch, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True), 1):
            outcomes = last if epoch == len(accuracies) else {"accuracy": accuracy, "loss": loss}
            rows.append({"trial": number, "point": point, **first, "epoch": epoch, **outcomes})
    named, outcomes = (dict.fromkeys(itertools.chain(*mappings)) for mappings in (parameters, results))
    columns = ["trial", "point", *named, "epoch", *sorted(outcomes, key=_order)]
    columns = [name for name in columns if name != "seconds" and not name.endswith("_by_epoch")]  # seconds vary
    files.write_csv(path(study), columns, ([row.get(column) for column in columns] for row in rows))


def read(study: str) -> list[Row]:
    """The rows of a study's table.

    raises: InputError if it is not there, or no such table
    """
    file = path(study)
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            rows: list[Row] = list(csv.DictReader(opened, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: cannot be read ({error}); `dvc repro` makes it") from None
    whole = rows and all(None not in row and None not in row.values() for row in rows)
    if not whole or not {"trial", "point", "epoch", "accuracy", "loss"} <= rows[0].keys():
        raise InputError(f"{file}: is no whole table of trials; `git restore {file}` brings back the committed one")
    return rows


def last_epochs(rows: Sequence[Row]) -> list[Row]:
    """Of each trial the row of its last epoch, in order."""
    return list({row["trial"]: row for row in rows}.values())


def parameters(row: Row) -> dict[str, Any]:
    """Those of the row's trial; of a point over seeds, with the first seed."""
    columns = list(row)
    named = {name: row[name] for name in columns[columns.index("point") + 1 : columns.index("epoch")]}
    return {name: value(text) for name, text in named.items() if text}


def value(text: str) -> float | int | str | bool:
    """As it was before it was written: a number with all its digits, True or False, or text."""
    for kind in (int, Exact):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"True": True, "False": False}.get(text, text)


def numbers(rows: Sequence[Row], column: str) -> np.ndarray:
    """A column of numbers: float array (n,), nan where there is none."""
    return np.array([float(row[column] or "nan") for row in rows])


def values(rows: Sequence[Row], column: str) -> list:
    """A column of parameters, as they were before they were written."""
    return [value(row[column]) for row in rows]


def _order(name: str) -> tuple:
    """Accuracies first, then the loss, what was before training and after it, and the device."""
    return name == "device", not name.startswith("accuracy"), not name.startswith("loss"), name.endswith("_after"), name
