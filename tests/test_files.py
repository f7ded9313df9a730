"""Results appear together or not at all, and what stops a stage is one line."""

import os
import signal
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from conftest import Clone, full_disk

from stages.common import files
from stages.settings import params


def all_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_results_appear_together_at_the_end(tmp_path: Path) -> None:
    files.write_json(tmp_path / "metrics.json", {"accuracy": 0.1})
    before = all_of(tmp_path)
    with files.together():
        files.write_bytes(tmp_path / "models/new.pt", b"weights")
        files.write_json(tmp_path / "metrics.json", {"accuracy": 0.9})
        assert (tmp_path / "metrics.json").read_bytes() == before["metrics.json"]
    assert files.read_json(tmp_path / "metrics.json") == {"accuracy": 0.9}
    assert set(all_of(tmp_path)) == {"metrics.json", "models/new.pt"}


def test_same_results_on_another_machine_change_no_file(tmp_path: Path) -> None:
    machine = tmp_path / "machine.json"
    for device, accuracy, named in (("cpu A", 0.9, "cpu A"), ("cpu B", 0.9, "cpu A"), ("cpu B", 0.8, "cpu B")):
        with files.together():
            files.write_bytes(tmp_path / f"{device}.pt", b"weights")  # new in a fresh clone
            files.write_json(tmp_path / "metrics.json", {"accuracy": accuracy})
            files.write_machine(machine, device)
        assert files.read_json(machine)["device"] == named


@pytest.mark.parametrize("stopped_by", ["full disk", "interrupt", "interrupt while writing"])
def test_results_of_before_stay_where_one_cannot_be_written(stopped_by: str, tmp_path: Path, monkeypatch) -> None:
    files.write_json(tmp_path / "metrics.json", {"accuracy": 0.1})
    before = all_of(tmp_path)
    with pytest.raises((OSError, KeyboardInterrupt)) as stopped, files.together(), full_disk(1000):  # noqa: PT012
        files.write_json(tmp_path / "metrics.json", {"accuracy": 0.9})
        if stopped_by == "interrupt while writing":
            monkeypatch.setattr(os, "fsync", Mock(side_effect=KeyboardInterrupt))
        if stopped_by != "interrupt":
            files.write_bytes(tmp_path / "model.pt", bytes(2000 if stopped_by == "full disk" else 2))
        raise KeyboardInterrupt
    assert all_of(tmp_path) == before
    named = str(tmp_path / "model.pt") if stopped_by == "full disk" else None
    assert getattr(stopped.value, "filename", None) == named


def test_error_of_input_ends_no_notebook() -> None:
    """Which a SystemExit does, as IPython passes over it."""
    with pytest.raises(Exception, match="no_such_file: cannot be read"):
        params.load(Path("no_such_file"))


@pytest.mark.parametrize(("stage", "name"), [("trials resnet_treatments", "resnet"), ("fold", "baseline")])
def test_stage_whose_model_is_missing_or_damaged_is_one_line(stage: str, name: str, unfinished: Clone) -> None:
    path = Path(f"data/models/{name}.pt")
    for _ in ("missing", "damaged"):
        [said] = unfinished.refused(sys.executable, "-m", "stages", *stage.split()).splitlines()
        assert said.startswith(f"{path}: ")
        assert f"`dvc repro -f -s {name}`" in said
        (unfinished.folder / path).parent.mkdir(exist_ok=True)
        (unfinished.folder / path).write_bytes(b"no weights")


def test_folder_that_is_none_is_one_line_and_no_new_model_stays(unfinished: Clone) -> None:
    (unfinished.folder / "plots").mkdir()
    (unfinished.folder / "plots/baseline").touch()
    said = unfinished.refused(sys.executable, "-m", "stages", "baseline")
    assert said.splitlines()[-1].startswith("baseline: plots/baseline")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_while_modules_are_imported_is_one_line(sent: signal.Signals, unfinished: Clone) -> None:
    with unfinished.start(sys.executable, "-X", "importtime", "-m", "stages", "sweep") as sweep:  # says each import
        assert sweep.stdout is not None
        next(line for line in sweep.stdout if "torch" in line)
        sweep.send_signal(sent)
        rest = [line for line in sweep.stdout if not line.startswith("import time:")]
    assert sweep.returncode == 1
    assert rest == ["sweep: interrupted before it began\n"]


INTERRUPTED = """
import os, signal, time

def main(settings):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(9)
    except KeyboardInterrupt:
        raise RuntimeError("in a commit") from None
"""


def test_interrupt_that_becomes_another_error_is_one_line(unfinished: Clone) -> None:
    """As in the middle of a commit, of which SQLAlchemy and Optuna make errors of their own."""
    (unfinished.folder / "stages/statistics.py").write_text(INTERRUPTED)
    said = unfinished.refused(sys.executable, "-m", "stages", "statistics")
    assert said == "statistics: interrupted; existing results and finished trials are kept\n"


@pytest.mark.parametrize(
    ("closed", "env"), [("2>&-", {}), ("<&- >&- 2>&-", {}), ("", {"LC_ALL": "C", "PYTHONUTF8": "0"})]
)
def test_output_that_is_closed_or_plain_stops_nothing(closed: str, env: dict[str, Any], unfinished: Clone) -> None:
    unfinished.set(run__workers=1, sweep__n_trials=1, sweep__batch=1)
    for name, status in (("sweep", 0), ("nothing…", 1)):
        ran = unfinished.run("sh", "-c", f"'{sys.executable}' -m stages {name} {closed}", check=False, **env)
        assert ran.returncode == status
    assert len(unfinished.read("plots/trials/sweep.csv").splitlines()) == 2
