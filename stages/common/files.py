"""Writes results: each file completely or not at all, the same bytes for the same numbers."""

import csv
import filecmp
import io
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stages.common.errors import InputError, short

DIGITS = 6  # significant digits of every outcome and statistic

_waiting: dict[Path, Path] | None = None  # inside `together`: written files, and their final paths


class Exact(float):
    """A number written with all its digits: a parameter, so that a trial can be repeated."""


@contextmanager
def together() -> Iterator[None]:
    """Publishes all files written inside when it ends, or none if it fails: never a new model with old metrics."""
    global _waiting
    _waiting = {}
    try:
        yield
        for part, path in _waiting.items():
            os.replace(part, path)
    finally:
        for part in _waiting:
            part.unlink(missing_ok=True)
        _waiting = None


@contextmanager
def whole(file: object) -> Iterator[None]:
    """Whatever a damaged table or metrics file raises is one line, with the way to make it again."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        cause, way = short(f"{type(error).__name__}: {error}"), "`git restore` or `dvc repro` brings it back"
        raise InputError(f"{file}: is damaged, or not of such a study ({cause}); {way}") from error


def read_json(path: Path) -> Any:
    """raises: InputError if the file is damaged"""
    with whole(path):
        return json.loads(path.read_bytes())


def check_model(path: Path) -> None:
    """raises: InputError that names the stage to run, if the file holds no weights"""
    import torch  # takes a second, and every stage imports this module

    try:
        torch.load(path, weights_only=True, map_location="cpu").items()
    except Exception as error:  # whatever a damaged file can raise
        wrong = "no such file" if isinstance(error, FileNotFoundError) else "cannot be read as weights"
        raise InputError(f"{path}: {wrong}; `dvc repro -f -s {path.stem}` makes it") from None


def write_model(path: Path, model: Any) -> None:
    """Writes the weights of a torch module as a state dict on the CPU."""
    import torch

    weights = io.BytesIO()
    torch.save({name: part.cpu().contiguous() for name, part in model.state_dict().items()}, weights)
    write_bytes(path, weights.getvalue())


def write_json(path: Path, values: Mapping) -> None:
    """Writes nested mappings with sorted keys; floats are rounded to DIGITS, except `Exact` ones."""
    write_bytes(path, (json.dumps(_rounded(values), indent=2, sort_keys=True) + "\n").encode())


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Writes a table; floats are rounded as in `write_json`."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows([_rounded(value) for value in row] for row in rows)
    write_bytes(path, text.getvalue().encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces a file at once: readers find the old content or the new."""
    part = write_part(path, content)
    if _waiting is None:
        os.replace(part, path)
    else:
        _waiting[part] = path


def write_part(path: Path, content: bytes) -> Path:
    """A temporary file, synced to disk, to be moved to `path`; raises: OSError that names `path`"""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # the error of a full disk has none
        raise
    return part


def write_machine(path: Path, device: str) -> None:
    """Writes the machine and package versions that results come from, like the notebook's watermark. Call it last: if
    the results are the same as before, the file stays unchanged, so that `git status` is clean on any machine."""
    known = {part: result for part, result in (_waiting or {}).items() if result.exists()}  # models are not in git
    if path.exists() and all(filecmp.cmp(part, result, shallow=False) for part, result in known.items()):
        return
    packages = ("torch", "torchvision", "numpy", "optuna", "scipy", "matplotlib", "dvc")
    machine = {"machine": platform.machine(), "system": platform.system(), "python": platform.python_version()}
    write_json(path, machine | {"device": device, "packages": {name: version(name) for name in packages}})


def _rounded(value):
    if isinstance(value, float) and not isinstance(value, Exact):
        # Adding 0.0 turns -0.0 into 0.0. JSON has no inf and no nan: null.
        return float(f"{value:.{DIGITS}g}") + 0.0 if abs(value) < float("inf") else None
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return value
