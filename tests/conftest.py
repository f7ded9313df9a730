"""Real digits and made-up photographs for all tests, and temporary clones in which the real pipeline runs on a few."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import forks
import numpy as np
import pytest
import yaml
from filelock import FileLock
from PIL import Image

from stages.common import mnist
from stages.common.errors import InputError
from stages.settings import params

ROOT = Path(__file__).parents[1]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
KINDS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["trials"]
for kind in ("imagenet", "photographs"):
    KINDS[kind]["reads"] = "photographs"  # the folder that the slice has
SETTINGS = params.load(ROOT / "params.yaml")
SLICE = yaml.safe_load((ROOT / "tests/slice.yaml").read_text(encoding="utf-8"))
for study in SLICE["studies"].values():
    study["trial"] = KINDS[study["trial"]]
NO_RESULTS = ("data/.gitignore", "data/imagenet.sha256")  # though they lie among them
CLASSES = ("n01440764", "n01531178", "n01843383")  # of ImageNet, by WordNet's names: fish, finch and toucan
COMMITTER = {f"GIT_{who}_{what}": f"{what}@test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
ENV = os.environ | COMMITTER | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def committed(path: str) -> str:
    """The file in the last commit: the one in the folder may be an experiment's."""
    return Clone(ROOT).run("git", "show", f"HEAD:{path}").stdout


def refused(call: Callable, *arguments: Any, **named: Any) -> str:
    """The one line that a call ends in which refuses its input."""
    with pytest.raises(InputError) as error:
        call(*arguments, **named)
    assert "\n" not in str(error.value)
    return str(error.value)


class Device:
    """Workers on a device of that name, where every trial ends with that accuracy."""

    def __init__(self, name: str, accuracy: float = 0.9):
        self.name, self.accuracy = name, accuracy

    def run(self, tasks: Mapping[int, dict], start: Callable[[int], object]) -> Iterator[tuple[int, dict]]:
        for number in tasks:
            start(number)
            yield number, {"accuracy": self.accuracy, "loss": 0.1, "device": self.name, "seconds": 60.0}


class Clone:
    """A copy of the project in a folder of its own."""

    def __init__(self, folder: Path):
        self.folder = folder

    def run(self, *command: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in the folder; standard output and standard error come back as one text in `stdout`."""
        if command[0] in ("dvc", "stages") or (command[0] == sys.executable and command[1] != "-c"):
            ran = subprocess.CompletedProcess(command, *forks.run(self.folder, command, ENV | env))
        else:
            pipes: dict = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            ran = subprocess.run(command, cwd=self.folder, env=ENV | env, text=True, timeout=1800, **pipes)
        if check and ran.returncode:
            raise AssertionError(f"{' '.join(command)} ended with {ran.returncode}:\n{ran.stdout}")
        return ran

    def start(self, *command: str) -> subprocess.Popen[str]:
        """A command that runs in the folder; its output comes as one text in `stdout`."""
        pipes: dict = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, cwd=self.folder, env=ENV, **pipes)

    def refused(self, *command: str) -> str:
        """What a command says that ends with an error; it leaves all results as they were."""
        before = self.results()
        ran = self.run(*command, check=False)
        assert ran.returncode > 0  # below 0: killed
        assert "Traceback" not in ran.stdout
        assert self.results() == before
        return ran.stdout

    def dvc(self, *arguments: str) -> str:
        return self.run("dvc", *arguments).stdout

    def set(self, **values: object) -> None:
        """Changes params.yaml; keys with their dots as double underscores."""
        set_params(self.folder, {key.replace("__", "."): value for key, value in values.items()})

    def read(self, path: str) -> str:
        return (self.folder / path).read_text()

    def results(self) -> dict[str, bytes]:
        """All that the stages leave but the studies, by path."""
        left = [path for top in ("data", "metrics", "plots") for path in (self.folder / top).rglob("*")]
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in left
            if path.is_file() and path.suffix not in {".sqlite3", ".lock"}
        }

    def copy(self, folder: Path) -> "Clone":
        shutil.copytree(self.folder, folder, symlinks=True, copy_function=link_or_copy)
        return Clone(folder)


@contextmanager
def full_disk(free: int) -> Iterator[None]:
    """No file can become larger than `free` bytes."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def link_or_copy(source: str, target: str) -> None:
    """Links digits and models, 300 MB a clone: they are replaced, never written to."""
    (os.link if Path(source).stat().st_size > 2**20 else shutil.copy2)(source, target)


def set_params(folder: Path, values: Mapping[str, object]) -> None:
    path = folder / "params.yaml"
    content = yaml.safe_load(path.read_text())
    for key, value in values.items():
        *sections, name = key.split(".")
        section = content
        for part in sections:
            section = section[part]
        section[name] = value
    path.write_text(yaml.safe_dump(content))


def write_photographs(folder: Path, of_class: int, names: Sequence[str] = CLASSES) -> None:
    """Made-up photographs, in color and in several sizes, as files folder/<class>/<number>.JPEG."""
    random = np.random.default_rng(1998)
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(of_class):
            blots = Image.fromarray(random.integers(256, size=(6, 6, 3), dtype=np.uint8))
            size = 240 + 17 * number, 300 - 11 * number
            blots.resize(size, Image.Resampling.BICUBIC).save(folder / name / f"{number}.JPEG")


def bare_clone(folder: Path) -> Clone:
    """The project as it stands, committed, without any results, set to the slice."""
    listed = Clone(ROOT).run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout
    for name in listed.split("\0"):
        result = name.startswith(("data/", "metrics/", "plots/", "dvc.lock")) and name not in NO_RESULTS
        if not result and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    clone = Clone(folder)
    set_params(folder, SLICE)
    write_photographs(folder / str(SLICE["imagenet.data"]) / "val", of_class=3)
    clone.run("git", "init", "--quiet", "--initial-branch=main")
    clone.run("git", "add", ".")
    clone.run("git", "commit", "--quiet", "--message=The project")
    return clone


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Each process starts with its half, then takes from the end of the other's: so one makes the clones that many tests
    # need, while the other has tests that don't wait for them.
    def waits(item: pytest.Item) -> int:
        return sum(name in getattr(item, "fixturenames", ()) for name in ("after_sweep", "finished"))

    items.sort(key=waits, reverse=True)


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return bare_clone(tmp_path_factory.mktemp("bare") / "project")


@pytest.fixture(scope="session")
def digits(bare: Clone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the four files: the project's own, if it has them, or fetched by its stage."""
    if all(mnist.fault(ROOT / mnist.FOLDER / name) is None for name in mnist.FILES):
        return ROOT / mnist.FOLDER
    fetching = bare.copy(tmp_path_factory.mktemp("digits") / "project")
    fetching.run(sys.executable, "-m", "stages", "download")
    return fetching.folder / mnist.FOLDER


@pytest.fixture(scope="session")
def data(digits: Path) -> mnist.Data:
    """The first of them."""
    return mnist.load(640, 400, digits)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder of all test processes."""
    folder = tmp_path_factory.getbasetemp()
    return folder if worker_id == "master" else folder.parent


@pytest.fixture(scope="session")
def after_sweep(bare: Clone, digits: Path, shared: Path) -> Clone:
    """A clone after `dvc repro sweep`, one for all test processes. Not to be changed: see `swept`."""
    return reproduced(bare, shared / "after_sweep", "download", "sweep", run__mnist=str(digits))


@pytest.fixture(scope="session")
def finished(after_sweep: Clone, shared: Path) -> Clone:
    """A clone after all stages, one for all test processes. Not to be changed: see `project`."""
    stages = [name for name in PIPELINE["stages"] if name not in ("download", "sweep")]
    return reproduced(after_sweep, shared / "finished", *stages)


def reproduced(clone: Clone, folder: Path, *stages: str, **settings: object) -> Clone:
    """A copy of the clone in that folder, in which these stages have run; everything is committed."""
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            clone = clone.copy(folder.with_suffix(".part"))
            clone.set(run__workers=1, **settings)  # the other core has other tests
            clone.dvc("config", "cache.type", "reflink,hardlink,copy")
            clone.run("stages", *stages)
            clone.dvc("commit", "--force", *stages)
            clone.run("git", "add", ".")
            clone.run("git", "commit", "--quiet", "--message=The results")
            clone.folder.rename(folder)
    return Clone(folder)


@pytest.fixture
def unfinished(bare: Clone, digits: Path, tmp_path: Path) -> Clone:
    """A clone of one's own with the digits, in which no other stage has run."""
    clone = bare.copy(tmp_path / "unfinished")
    (clone.folder / "data").mkdir(exist_ok=True)
    (clone.folder / mnist.FOLDER).symlink_to(digits)
    return clone


@pytest.fixture
def swept(after_sweep: Clone, tmp_path: Path) -> Clone:
    """A clone of one's own in which the sweep has run, and nothing that rests on it."""
    return after_sweep.copy(tmp_path / "swept")


@pytest.fixture
def project(finished: Clone, tmp_path: Path) -> Clone:
    """A finished clone of one's own."""
    return finished.copy(tmp_path / "project")
