"""`make carry`: code that gives the same results keeps its trials, and no other code does."""

import sqlite3
import sys
from pathlib import Path

import pytest
from conftest import Clone

TRAINING = "stages/lenet/training.py"
STUDY = "data/studies/one_epoch.sqlite3"


@pytest.fixture
def changed(project: Clone) -> Clone:
    """A clone in which a variable of the training has another name."""
    rename(project, "losses", "loss_of_step")
    return project


def rename(project: Clone, before: str, after: str) -> None:
    path = project.folder / TRAINING
    path.write_text(path.read_text().replace(before, after))


def carry(project: Clone, check: bool = True) -> str:
    return project.run(sys.executable, "tools/carry.py", "--few", "one_epoch", check=check).stdout


def trials(project: Clone) -> str:
    """What the stage would say, without running a trial."""
    project.set(run__scheduler="tcp://127.0.0.1:1")
    return project.run(sys.executable, "-m", "stages", "trials", "one_epoch", check=False).stdout


def test_renamed_variable_carries_and_nothing_is_trained_again(changed: Clone) -> None:
    kept = kept_results(changed)
    assert "carried over from" in carry(changed)
    assert "5/5 trials done" in trials(changed)
    assert kept_results(changed) == kept
    assert "fits the code" in carry(changed)
    assert changed.run("git", "status", "--porcelain", "data/studies").stdout.strip() == f"M {STUDY}"


def test_changed_constant_does_not_carry(changed: Clone) -> None:
    rename(changed, "gamma=training.gamma", "gamma=0.5 * training.gamma")
    rename(changed, "model.zero_grad()", "model.zero_grad(), model.conv1.weight.data.mul_(1.0001)")
    said = carry(changed, check=False)
    assert "differs in" in said
    assert "not carried" in said
    assert changed.run("git", "status", "--porcelain", "data/studies").stdout == ""
    assert "0/5 trials done" in trials(changed)


@pytest.mark.slow
def test_study_of_another_processor_carries(changed: Clone) -> None:
    """Its results differ from those of this machine; old and new code do not."""
    from stages.study import store

    path = changed.folder / STUDY
    loaded = store.load(path, "one_epoch")
    fingerprint = store.fingerprint_of(loaded.study)
    path.unlink()
    other = store.StudyFile(fingerprint, path)
    for trial in loaded.study.trials:
        (result,) = store.results([trial])
        store.add(other.study, trial.params, trial.distributions)
        store.start(other.study, other.study.trials[-1])
        other.keep(other.study.trials[-1], result | {"loss": result["loss"] * 1.001, "device": "another processor"})
    changed.run("git", "commit", "--quiet", "--message=Of another processor", STUDY)
    assert "carried over from" in carry(changed)
    assert "5/5 trials done" in trials(changed)


def kept_results(project: Clone) -> list[tuple]:
    path: Path = project.folder / STUDY
    with sqlite3.connect(path) as database:
        return database.execute("select * from trial_user_attributes order by 1").fetchall()
