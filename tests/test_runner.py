"""How many trials run at a time, and on what."""

import json
import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from conftest import ROOT, Device

from stages.common import tables
from stages.evidence import judgement
from stages.lenet.trial import LenetTrial
from stages.settings import params
from stages.study import runner, store
from stages.study.design import Planned
from stages.study.fingerprint import Trial
from stages.study.proposals import Points
from stages.vision.trial import ImagenetTrial

SETTINGS = params.load(ROOT / "params.yaml")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, and a machine of 16 cores whose containers are not limited."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(16), raising=False)
    has_memory(64, monkeypatch)


def has_memory(gibibytes: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=int(gibibytes * 2**30)))


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({"cpu.max": "max 100000", "memory.max": "max"}, 16),
        ({"cpu.max": "350000 100000", "memory.max": "max"}, 3),
        ({"cpu.max": "50000 100000"}, 1),
        ({"memory.max": f"{6 * 2**30}", "memory.stat": f"anon {2**30}\nfile {5 * 2**30}"}, 5),
    ],
)
def test_no_more_workers_start_than_a_container_may_have(files: dict[str, str], count: int) -> None:
    for name, text in files.items():
        Path(name).write_text(f"{text}\n", encoding="utf-8")
    assert runner.worker_count(SETTINGS, LenetTrial, torch.device("cpu")) == count


@pytest.mark.parametrize(
    ("trial", "gibibytes", "count"),
    [(LenetTrial, 64, 16), (LenetTrial, 5, 5), (LenetTrial, 0.5, 1), (ImagenetTrial, 5, 2)],
)
def test_no_more_workers_start_than_fit_into_free_memory(
    trial: type[Trial],
    gibibytes: float,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    has_memory(gibibytes, monkeypatch)
    assert runner.worker_count(SETTINGS, trial, torch.device("cpu")) == count
    said = f"run.workers: {count} instead of 16, as {gibibytes:.1f} GiB of memory are free"
    assert (said in capsys.readouterr().out) == (count < 16)
    named = SETTINGS.model_copy(update={"run": SETTINGS.run.model_copy(update={"workers": 9})})
    assert runner.worker_count(named, trial, torch.device("cpu")) == 9  # as asked
    monkeypatch.setattr(trial, "threads", lambda _: 4)
    assert runner.worker_count(SETTINGS, trial, torch.device("cpu")) == min(4, count)


@pytest.mark.parametrize(
    ("trial", "gibibytes", "cores", "count"),
    [(LenetTrial, 80, 16, 4), (LenetTrial, 80, 2, 2), (LenetTrial, 1, 16, 1), (ImagenetTrial, 7.8, 16, 1)],
)
def test_few_workers_share_a_gpu(
    trial: type[Trial], gibibytes: float, cores: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores), raising=False)
    gpu = SimpleNamespace(total_memory=int(gibibytes * 2**30))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: gpu)
    assert runner.worker_count(SETTINGS, trial, torch.device("cuda")) == count
    assert runner.worker_count(SETTINGS, trial, torch.device("mps")) == 1


def runs_on(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LenetTrial, "check", lambda _: None)
    monkeypatch.setattr(runner, "executor", lambda *_: nullcontext(Device(name)))


def test_study_that_went_on_elsewhere_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def machine(seeds: int, here: str) -> str:
        points = Points([Planned("", {"mean": 0.0, "std": 1.0, "seed": seed}) for seed in range(seeds)])
        runs_on(here, monkeypatch)
        runner.run("one", SETTINGS, points, LenetTrial)
        return json.loads(Path("data/machine/one.json").read_text())["device"]

    assert machine(2, here="cpu B") == "cpu B"
    assert machine(3, here="cpu A") == "cpu A, cpu B"
    assert machine(3, here="cpu C") == "cpu A, cpu B"  # nothing was evaluated there


def test_two_points_of_the_same_parameters_share_their_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    runs_on("cpu A", monkeypatch)
    points = [(point, seed) for seed in (1, 2) for point in ("standard", "same")]
    planned = [Planned(point, {"mean": 0.0, "std": 1.0, "seed": seed}) for point, seed in points]
    for _ in range(2):  # the second time, all of them are done
        runner.run("one", SETTINGS, Points(planned), LenetTrial)
        assert len(store.load(Path("data/studies/one.sqlite3"), "one").study.trials) == 2
        rows = tables.read("one")
        assert [(row["point"], int(row["seed"])) for row in rows] == points
    metrics = judgement.comparison(rows, SETTINGS.rule, images=10_000)["same"]
    assert (metrics["n"], metrics["difference"]["mean"]) == (2, 0)
