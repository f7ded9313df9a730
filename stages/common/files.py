"""How results are written: whole or not at all, and the same bytes for the same numbers."""

import csv
import io
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

DIGITS = 6  # after the point, for every fraction, loss and statistic


def write_json(path: Path, values: Mapping) -> None:
    """Nested mappings of numbers and text, with sorted keys and floats rounded to DIGITS."""
    write_bytes(path, (json.dumps(_rounded(values), indent=2, sort_keys=True) + "\n").encode())


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """A table with a header line; floats rounded to DIGITS."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows([_rounded(value) for value in row] for row in rows)
    write_bytes(path, text.getvalue().encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces `path` at once: whoever reads it finds the old content or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    os.replace(part, path)


def write_machine(path: Path, device: str) -> None:
    """The machine and the versions that results come from, as the notebook's watermark: no metric, no timestamps."""
    packages = ("torch", "torchvision", "numpy", "optuna", "scipy", "matplotlib", "dvc")
    write_json(
        path,
        {
            "device": device,
            "machine": platform.machine(),
            "packages": {name: version(name) for name in packages},
            "python": platform.python_version(),
            "system": platform.system(),
        },
    )


def _rounded(value):
    if isinstance(value, float):
        # Adding 0.0 turns -0.0 into 0.0; what is no finite number has no place in JSON and is left empty.
        return round(value, DIGITS) + 0.0 if abs(value) < float("inf") else None
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return value
