"""The digest of a trial's code: the same wherever it is computed, another one where the code means something else."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT

from stages.study import meaning

LENET, VISION = "stages.lenet.trial", "stages.vision.trial"
SCRIPT = f"from stages.study.meaning import digest; print(digest({LENET!r}), digest({VISION!r}))"
DIGESTS = meaning.digest(LENET), meaning.digest(VISION)
MOVED = "stages.lenet.protocol"
# One of each kind of syntax whose tree has changed between versions of Python, or may.
SAMPLE = '''
"""Docstring."""
import os as system
from typing import NamedTuple

@decorated(1, key=-2.5)
class Pair(NamedTuple):
    """Docstring."""
    first: int = 1
    second: "str | None" = None

async def f(a, /, b: int = 3, *args, c=..., **kwargs) -> list[int]:
    """Docstring."""
    with open(f"{a!r:>{b}} of {c}" "and") as file, file:
        x = [*args, {**kwargs, "k": b"v"}, (yield), lambda: 1j]
    try:
        del x[1:2, ::3]
    except* (OSError, ValueError) as error:
        raise error from None
    match a:
        case {"k": [1, *rest], **others} | Pair(first=1) as found if not found:
            return (y := 5) if a else await b
    return x @ 2 ** ~1 < 10**30 != "text"
'''
# Computed under Python 3.11, 3.12 and 3.13, which agree.
DIGEST = "354cdfb4ac0e3a9d8ef071ca4370480d2beb9c25539f5ed5e16257a8ba432e8c"


def test_words_are_the_same_under_every_python() -> None:
    assert meaning.hashlib.sha256(meaning.meaning(ast.parse(SAMPLE)).encode()).hexdigest() == DIGEST


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_digest_is_the_same_under_every_python(version: str) -> None:
    installed = Path.home().glob(f".pyenv/versions/{version}.*/bin/python")
    python = next(map(str, installed), None) or shutil.which(f"python{version}")
    ran = python and subprocess.run([python, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True)
    if not ran or "command not found" in ran.stderr:  # the latter of a version that pyenv knows, but does not use
        pytest.skip(f"no Python {version} on this machine")
    assert tuple(ran.stdout.split()) == DIGESTS, ran.stderr


@pytest.fixture
def edited(tmp_path: Path) -> Callable[..., tuple[str, ...]]:
    """The digests of both trials in a copy of the code in which a text of a file is another one."""

    def digests(path: str, old: str, new: str) -> tuple[str, ...]:
        code = tmp_path / "stages"
        shutil.rmtree(code, ignore_errors=True)
        shutil.copytree(ROOT / "stages", code)
        text = (code / path).read_text()
        assert old in text
        (code / path).write_text(text.replace(old, new))
        if new == MOVED:
            (code / "lenet/training.py").rename(code / "lenet/protocol.py")
        command = [sys.executable, "-c", SCRIPT]
        return tuple(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout.split())

    return digests


@pytest.mark.parametrize(
    ("path", "old", "new", "counts_for"),
    [
        ("lenet/training.py", "    fix(threads)\n", "    # new\n    fix(threads)  # new\n\n", []),
        ("lenet/training.py", '"""Training and test of LeNet', '"""Another text', []),
        ("lenet/trial.py", "stages.lenet.training", MOVED, []),
        ("settings/params.py", "PATH = Path", "OTHER = 1\nPATH = Path", []),
        ("common/device.py", "2**28", "2**27", []),
        ("evidence/drawings.py", "tab:gray", "tab:red", []),
        ("lenet/training.py", "gamma=training.gamma", "gamma=1.0", [LENET]),
        ("lenet/model.py", "KEEP1, KEEP2 = 0.75, 0.5", "KEEP1, KEEP2 = 0.8, 0.5", [LENET]),
        ("vision/trial.py", "class ImagenetTrial", "OTHER = 1\n\n\nclass ImagenetTrial", [VISION]),
        ("common/normalization.py", "div_(255)", "div_(256)", [LENET, VISION]),
        ("common/mnist.py", "offset=16", "offset=17", [LENET, VISION]),
    ],
)
def test_code_counts_for_trials_that_run_it_but_comments_and_places_do_not(path, old, new, counts_for, edited) -> None:
    digests = zip((LENET, VISION), DIGESTS, edited(path, old, new), strict=True)
    assert [name for name, before, after in digests if before != after] == counts_for
