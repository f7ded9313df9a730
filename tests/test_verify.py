"""`make verify` says of a study that it holds only where it does; `make carry` keeps trials only of equal code."""

import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from random import Random
from unittest.mock import Mock

import carry
import pytest
import verify
from conftest import ROOT, SETTINGS, Clone, Device

from stages.common import tables
from stages.common.errors import InputError
from stages.lenet.trial import LenetTrial
from stages.settings import params
from stages.study import meaning, runner, store
from stages.study.design import Planned
from stages.study.proposals import Points

POINTS = [Planned("", {"mean": 0.0, "std": 1.0, "seed": seed}) for seed in range(3)]


def with_test_images(count: int) -> params.Params:
    return SETTINGS.model_copy(update={"data": SETTINGS.data.model_copy(update={"test_images": count})})


@pytest.fixture
def study(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study of the first two points, kept on `cpu A`."""
    monkeypatch.setattr(LenetTrial, "check", lambda _: None)
    monkeypatch.setattr(runner, "executor", lambda *_: nullcontext(Device("cpu A")))
    runner.run("one", SETTINGS, Points(POINTS[:2]), LenetTrial)


def verified(points: int, settings: params.Params = SETTINGS) -> bool:
    return verify.verified("one", Points(POINTS[:points]), LenetTrial, settings, Random(0))


@pytest.mark.usefixtures("study")
@pytest.mark.parametrize(
    ("points", "device", "said", "holds"),
    [
        (2, Device("cpu A", 0.9), "the same |", True),
        (2, Device("cpu A", 0.8), "OTHER: accuracy |", False),
        (2, Device("cpu B", 0.9), "of cpu A | the same |", True),
        (2, Device("cpu B", 0.8), "accuracy 0.9000 there, 0.8000 here |", True),
        (3, Device("cpu A", 0.9), "2 of 3 | same |", False),
        (3, Device("cpu B", 0.8), "2 of 3 | same |", False),
    ],
)
def test_trial_evaluated_again(points: int, device: Device, said: str, holds: bool, monkeypatch, capsys) -> None:
    monkeypatch.setattr(verify, "describe", lambda _: device.name)
    monkeypatch.setattr(runner, "executor", lambda *_: nullcontext(device))
    before = Path("data/studies/one.sqlite3").read_bytes()
    assert verified(points) == holds
    assert said in capsys.readouterr().out
    assert Path("data/studies/one.sqlite3").read_bytes() == before


@pytest.mark.usefixtures("study")
def test_study_of_other_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert not verified(2, with_test_images(10))
    assert "| one | 0 of 2 | OTHER |" in capsys.readouterr().out


@pytest.mark.usefixtures("study")
@pytest.mark.parametrize(("points", "holds"), [(2, True), (3, False)])
def test_trial_whose_data_is_not_there_is_left_out(points: int, holds: bool, monkeypatch, capsys) -> None:
    monkeypatch.setattr(LenetTrial, "check", Mock(side_effect=InputError("no photographs")))
    assert verified(points) == holds
    assert "not here: no photographs |" in capsys.readouterr().out


def test_every_committed_study_is_gone_through_and_its_trials_are_those_of_its_table(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    plans = {name: plan for name, plan, *_ in verify.studies(SETTINGS)}
    listed = subprocess.run(["git", "ls-files", "data/studies"], capture_output=True, text=True, check=True).stdout
    committed = {Path(file).stem for file in listed.split()}
    assert committed
    assert committed <= plans.keys()
    for name in committed:
        plan, table = plans[name], tables.last_epochs(tables.read(name))
        parameters = tables.parameters(table)
        if isinstance(plan, Points):
            assert plan.planned == list(zip(table["point"], parameters, strict=True)), name
        else:
            shared = [{axis: of[axis] for axis in of if axis not in plan.settings.space} for of in parameters]
            assert shared == [plan.fixed] * len(table), name


@pytest.mark.usefixtures("study")
@pytest.mark.parametrize(
    ("differs", "commit", "test_images", "said"),
    [
        (None, "c0ffee00", 10_000, "carried over from c0ffee00: trials 0, 1, 0 are the same"),
        (1, "c0ffee00", 10_000, "trial 1 differs in loss: not carried"),
        (None, None, 10_000, "no commit has the code that it was made with: not carried"),
        (None, "c0ffee00", 10, "code of the trial, data changed: not carried"),
    ],
)
def test_study_is_carried_to_other_code_only_if_old_and_new_results_are_the_same(
    differs: int | None, commit: str | None, test_images: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate(_: type, tasks: Sequence[dict], *__: object) -> list[list[dict]]:
        """By old and new code, on another processor than that of the study."""
        return [[{"loss": 0.2}, {"loss": 0.3 if task["seed"] == differs else 0.2}] for task in tasks]

    path = Path("data/studies/one.sqlite3")
    before = store.load(path).study
    monkeypatch.setattr(carry, "evaluate", evaluate)
    monkeypatch.setattr(carry, "checked_out", lambda *_: commit)
    monkeypatch.setattr(meaning, "digest", lambda _: "of other code")
    plan, settings, carries = Points(POINTS[:2]), with_test_images(test_images), "carried over" in said
    assert carry.carried("one", plan, LenetTrial, settings, few=False) == (carries, said)
    after = store.load(path).study
    assert store.results(after.trials) == store.results(before.trials)
    assert (store.fingerprint_of(after) == store.fingerprint_of(before)) != carries
    assert [note["trials"] for note in after.user_attrs.get(carry.CARRIED, [])] == [[0, 1, 0]] * carries
    again = (True, "fits the code") if carries else (False, said)
    assert carry.carried("one", plan, LenetTrial, settings, few=False) == again


def test_code_of_a_study_is_found_in_git(bare: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bare.folder)
    commit = carry.checked_out(meaning.digest(LenetTrial.__module__), LenetTrial.__module__, tmp_path)
    assert commit == bare.run("git", "rev-parse", "HEAD").stdout.strip()
    assert (tmp_path / "stages/lenet/trial.py").exists()
    assert carry.checked_out("of no commit", LenetTrial.__module__, tmp_path) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after", "said", "kept"),
    [
        ("losses", "loss_of_step", "carried over from", "5 of 5 | same"),
        ("model.zero_grad()", "model.zero_grad(), model.conv1.weight.data.mul_(1.01)", "differs in", "0 of 5 | OTHER"),
    ],
)
def test_renamed_variable_carries_and_another_constant_does_not(before, after, said, kept, project: Clone) -> None:
    path = project.folder / "stages/lenet/training.py"
    path.write_text(path.read_text().replace(before, after))
    assert said in project.run(sys.executable, "tools/carry.py", "--few", "one_epoch", check=False).stdout
    assert f"| one_epoch | {kept} |" in project.run(sys.executable, "tools/verify.py", "--dry", check=False).stdout
    changed = project.run("git", "status", "--porcelain", "data/studies").stdout.split()
    assert changed == (["M", "data/studies/one_epoch.sqlite3"] if "same" in kept else [])
