"""What `make verify` says of a study that is there: that it holds only where it does."""

import subprocess
from contextlib import nullcontext
from pathlib import Path
from random import Random

import pytest
import verify
from conftest import ROOT, Device

from stages.common.errors import InputError
from stages.lenet.trial import LenetTrial
from stages.settings import params
from stages.study import runner
from stages.study.proposals import Points

POINTS: list[params.Parameters] = [{"mean": 0.0, "std": 1.0, "seed": seed} for seed in range(3)]
SETTINGS = params.load(ROOT / "params.yaml")


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study of the first two points, kept on `cpu A`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(LenetTrial, "check", lambda _: None)
    monkeypatch.setattr(runner, "executor", lambda *_: nullcontext(Device("cpu A")))
    runner.run("one", SETTINGS, Points(POINTS[:2]), LenetTrial)


@pytest.mark.usefixtures("study")
@pytest.mark.parametrize(
    ("points", "here", "accuracy", "said", "holds"),
    [
        (2, "cpu A", 0.9, "the same |", True),
        (2, "cpu A", 0.8, "OTHER: accuracy |", False),
        (2, "cpu B", 0.9, "of cpu A | the same |", True),
        (2, "cpu B", 0.8, "accuracy 0.9000 there, 0.8000 here |", True),
        (3, "cpu A", 0.9, "2 of 3 | same |", False),
        (3, "cpu B", 0.8, "2 of 3 | same |", False),
    ],
)
def test_trial_evaluated_again(
    points: int,
    here: str,
    accuracy: float,
    said: str,
    holds: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(verify, "planned", lambda *_: ("one", Points(POINTS[:points]), LenetTrial))
    monkeypatch.setattr(verify, "describe", lambda _: here)
    monkeypatch.setattr(runner, "executor", lambda *_: nullcontext(Device(here, accuracy)))
    before = Path("data/studies/one.sqlite3").read_bytes()
    assert verify.verified("trials", ["one"], SETTINGS, Random(0)) == holds
    assert said in capsys.readouterr().out
    assert Path("data/studies/one.sqlite3").read_bytes() == before


@pytest.mark.usefixtures("study")
def test_study_of_other_settings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(verify, "planned", lambda *_: ("one", Points(POINTS[:2]), LenetTrial))
    test = SETTINGS.data.model_copy(update={"test_images": 10})
    assert not verify.verified("trials", ["one"], SETTINGS.model_copy(update={"data": test}), Random(0))
    assert "| one | 0 of 2 | OTHER |" in capsys.readouterr().out


@pytest.mark.usefixtures("study")
@pytest.mark.parametrize(("points", "holds"), [(2, True), (3, False)])
def test_trial_whose_data_is_not_there_is_left_out(
    points: int, holds: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(_: params.Params) -> None:
        raise InputError("no photographs")

    monkeypatch.setattr(verify, "planned", lambda *_: ("one", Points(POINTS[:points]), LenetTrial))
    monkeypatch.setattr(LenetTrial, "check", check)
    assert verify.verified("trials", ["one"], SETTINGS, Random(0)) == holds
    assert "not here: no photographs |" in capsys.readouterr().out


def test_every_committed_study_is_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    listed = subprocess.run(["git", "ls-files", "data/studies"], capture_output=True, text=True, check=True).stdout
    committed = {Path(file).stem for file in listed.split()}
    assert committed
    assert committed <= {verify.planned(*each, SETTINGS)[0] for each in verify.with_study(SETTINGS)}
