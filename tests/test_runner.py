"""How many trials run at a time."""

import os
from types import SimpleNamespace

import psutil
import pytest
import torch
from conftest import ROOT

from stages.lenet.trial import LenetTrial
from stages.settings import params
from stages.study import runner
from stages.study.fingerprint import Trial
from stages.vision.trial import ImagenetTrial


@pytest.mark.parametrize(
    ("trial", "gibibytes", "count"),
    [(LenetTrial, 64, 16), (LenetTrial, 5, 5), (LenetTrial, 0.5, 1), (ImagenetTrial, 64, 16), (ImagenetTrial, 5, 2)],
)
def test_no_more_workers_start_than_fit_into_free_memory(
    trial: type[Trial],
    gibibytes: float,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = params.load(ROOT / "params.yaml")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(16), raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=int(gibibytes * 2**30)))
    assert runner.worker_count(settings, trial, torch.device("cpu")) == count
    said = f"run.workers: {count} instead of 16, as {gibibytes:.1f} GiB of memory are free"
    assert (said in capsys.readouterr().out) == (count < 16)
    named = settings.model_copy(update={"run": settings.run.model_copy(update={"workers": 9})})
    assert runner.worker_count(named, trial, torch.device("cpu")) == 9  # as asked
    monkeypatch.setattr(trial, "threads", lambda _: 4)
    assert runner.worker_count(settings, trial, torch.device("cpu")) == min(4, count)
