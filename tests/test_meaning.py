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
    script = f"from stages.study.meaning import digest; print(digest({LENET!r}), digest({VISION!r}))"
    ran = python and subprocess.run([python, "-c", script], cwd=ROOT, capture_output=True, text=True)
    if not ran or "command not found" in ran.stderr:  # the latter of a version that pyenv knows, but does not use
        pytest.skip(f"no Python {version} on this machine")
    assert ran.stdout.split() == [meaning.digest(LENET), meaning.digest(VISION)], ran.stderr


@pytest.fixture
def edited(tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """The digests of both trials in a copy of the code in which a file has another text."""

    def digests(path: str = "", old: str = "", new: str = "", then: Callable[[Path], None] | None = None):
        code = tmp_path / "stages"
        shutil.rmtree(code, ignore_errors=True)
        shutil.copytree(ROOT / "stages", code)
        if path:
            text = (code / path).read_text()
            assert old in text
            (code / path).write_text(text.replace(old, new))
        if then:
            then(code)
        script = f"from stages.study.meaning import digest; print(digest({LENET!r}), digest({VISION!r}))"
        ran = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
        lenet, vision = ran.stdout.split()
        return lenet, vision

    return digests


def test_comments_docstrings_and_places_do_not_count(edited) -> None:
    before = edited()
    assert before == (meaning.digest(LENET), meaning.digest(VISION))
    assert edited("lenet/training.py", "    fix(threads)\n", "    # new\n    fix(threads)  # new\n\n") == before
    assert edited("lenet/training.py", '"""Training and test of LeNet', '"""Another text') == before
    assert edited("settings/params.py", "PATH = Path", "OTHER = 1\nPATH = Path") == before
    assert edited("common/device.py", "2**28", "2**27") == before
    assert edited("evidence/drawings.py", "tab:gray", "tab:red") == before

    def move(code: Path) -> None:
        (code / "lenet/training.py").rename(code / "lenet/protocol.py")
        for path in code.rglob("*.py"):
            path.write_text(path.read_text().replace("stages.lenet.training", "stages.lenet.protocol"))

    assert edited(then=move) == before


@pytest.mark.parametrize(
    ("path", "old", "new", "counts_for"),
    [
        ("lenet/training.py", "gamma=training.gamma", "gamma=1.0", [LENET]),
        ("lenet/trial.py", "SILENT_IMAGES = 1000", "SILENT_IMAGES = 500", [LENET]),
        ("lenet/model.py", "KEEP1, KEEP2 = 0.75, 0.5", "KEEP1, KEEP2 = 0.8, 0.5", [LENET]),
        ("vision/treatments.py", "outputs = torch.empty(", "outputs = torch.zeros(", [VISION]),
        ("vision/trial.py", "class ImagenetTrial", "OTHER = 1\n\n\nclass ImagenetTrial", [VISION]),
        ("common/normalization.py", "div_(255)", "div_(256)", [LENET, VISION]),
        ("common/determinism.py", "set_flush_denormal(True)", "set_flush_denormal(False)", [LENET, VISION]),
        ("common/mnist.py", "offset=16", "offset=17", [LENET, VISION]),
    ],
)
def test_code_counts_for_the_trials_that_run_it(path: str, old: str, new: str, counts_for: list[str], edited) -> None:
    changed = [name for name, a, b in zip((LENET, VISION), edited(), edited(path, old, new), strict=True) if a != b]
    assert changed == counts_for
