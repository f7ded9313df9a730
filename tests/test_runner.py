"""How many trials run at a time."""

import os
from types import SimpleNamespace

import psutil
import pytest
import torch
from conftest import ROOT

from stages.settings import params
from stages.study import runner


@pytest.mark.parametrize(("gibibytes", "count"), [(64, 16), (5, 5), (0.5, 1)])
def test_no_more_workers_start_than_fit_into_free_memory(
    gibibytes: float, count: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = params.load(ROOT / "params.yaml")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(16), raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=int(gibibytes * 2**30)))
    assert runner.worker_count(settings, 1, torch.device("cpu")) == count
    said = f"run.workers: {count} instead of 16, as {gibibytes:.1f} GiB of memory are free"
    assert (said in capsys.readouterr().out) == (count < 16)
    assert runner.worker_count(settings, 4, torch.device("cpu")) == min(4, count)
    named = settings.model_copy(update={"run": settings.run.model_copy(update={"workers": 9})})
    assert runner.worker_count(named, 1, torch.device("cpu")) == 9  # as asked
