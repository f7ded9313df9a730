"""How many trials run at a time, and on what."""

import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from conftest import SETTINGS, Device

from stages.common import tables
from stages.evidence import judgement
from stages.lenet.trial import LenetTrial
from stages.study import runner, store
from stages.study.design import Planned
from stages.study.fingerprint import Trial
from stages.study.proposals import Points
from stages.vision.trial import ImagenetTrial, ScratchTrial

pytestmark = pytest.mark.usefixtures("here")
CONTAINER = {"memory.max": f"{6 * 2**30}", "memory.stat": f"anon {2**30}\nfile {5 * 2**30}"}  # 1 of 6 GiB is in use


@pytest.mark.parametrize(
    ("count", "trial", "machine"),
    [
        (16, LenetTrial, {}),
        (4, LenetTrial, {"threads": {"train": 4}}),
        (3, ScratchTrial, {"threads": {"resnet": 5}}),
        (2, ImagenetTrial, {"threads": {"imagenet": 8}}),
        (16, LenetTrial, {"container": {"cpu.max": "max 100000", "memory.max": "max"}}),
        (3, LenetTrial, {"container": {"cpu.max": "350000 100000"}}),
        (1, LenetTrial, {"container": {"cpu.max": "50000 100000"}}),
        (5, LenetTrial, {"container": CONTAINER}),
        (5, LenetTrial, {"memory": 5}),
        (1, LenetTrial, {"memory": 0.5}),
        (2, ImagenetTrial, {"memory": 5}),
        (9, LenetTrial, {"memory": 5, "workers": 9}),  # as asked
        (4, LenetTrial, {"gpu": 80}),
        (2, LenetTrial, {"gpu": 80, "cores": 2}),
        (1, LenetTrial, {"gpu": 1}),
        (1, ImagenetTrial, {"gpu": 7.8}),
        (1, LenetTrial, {"device": "mps"}),
    ],
)
def test_no_more_workers_start_than_have_cores_and_memory(
    count: int, trial: type[Trial], machine: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    for name, text in machine.get("container", {}).items():
        Path(name).write_text(f"{text}\n", encoding="utf-8")
    free, gpu = (int(machine.get(of, 64) * 2**30) for of in ("memory", "gpu"))
    monkeypatch.setattr(runner, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(machine.get("cores", 16)), raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=gpu))
    of_section: dict[str, dict] = {name: {"threads": each} for name, each in machine.get("threads", {}).items()}
    of_section["run"] = {"workers": machine.get("workers", "auto")}
    sections = {name: getattr(SETTINGS, name).model_copy(update=update) for name, update in of_section.items()}
    device = torch.device(machine.get("device", "cuda" if "gpu" in machine else "cpu"))
    assert runner.worker_count(SETTINGS.model_copy(update=sections), trial, device) == count
    said = f"run.workers: {count} instead of 16, as {machine.get('memory', 5):.1f} GiB of memory are free"
    limited = machine.get("container") == CONTAINER or ("memory" in machine and "workers" not in machine)
    assert (said in capsys.readouterr().out) == limited


def runs_on(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LenetTrial, "check", lambda _: None)
    monkeypatch.setattr(runner, "executor", lambda *_: nullcontext(Device(name)))


def test_study_that_went_on_elsewhere_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for seeds, here in ((2, "cpu B"), (3, "cpu A"), (3, "cpu C")):  # on the last one, nothing is evaluated
        runs_on(here, monkeypatch)
        points = Points([Planned("", {"mean": 0.0, "std": 1.0, "seed": seed}) for seed in range(seeds)])
        runner.run("one", SETTINGS, points, LenetTrial)
    assert list(tables.read("one")["device"]) == ["cpu B", "cpu B", "cpu A"]


def test_two_points_of_the_same_parameters_share_their_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    runs_on("cpu A", monkeypatch)
    points = [(point, seed) for seed in (1, 2) for point in ("standard", "same")]
    planned = [Planned(point, {"mean": 0.0, "std": 1.0, "seed": seed}) for point, seed in points]
    for _ in range(2):  # the second time, all of them are done
        runner.run("one", SETTINGS, Points(planned), LenetTrial)
        assert len(store.load(Path("data/studies/one.sqlite3")).study.trials) == 2
        rows = tables.read("one")
        assert list(zip(rows["point"], rows["seed"], strict=True)) == points
    metrics = judgement.comparison(rows, SETTINGS.rule, images=10_000)["same"]
    assert (metrics["n"], metrics["difference"]["mean"]) == (2, 0)
