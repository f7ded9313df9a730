"""Worker processes: one that dies costs its task only, and none outlives the sweep."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.workers import DEATHS, WorkerDied, Workers


def evaluation(name: str) -> Callable:
    return square if name == "square" else idle


def square(number: int, folder: str, deaths: int) -> int:
    """The square, after as many calls have died of SIGKILL as `deaths` says."""
    died = len(list(Path(folder).glob(f"{number}-*")))
    Path(folder, f"{number}-{died}").touch()
    if died < deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


def test_tasks_run_and_a_dead_worker_costs_only_its_task(tmp_path: Path) -> None:
    tasks = {n: {"number": n, "folder": str(tmp_path), "deaths": DEATHS - 1 if n == 3 else 0} for n in range(6)}
    with Workers(2, evaluation, ("square",)) as workers:
        results = dict(workers.run(tasks))
    assert results == {number: number**2 for number in range(6)}
    assert len(list(tmp_path.iterdir())) == 6 + DEATHS - 1


def test_task_that_kills_every_worker_is_given_up_and_named(tmp_path: Path) -> None:
    with Workers(1, evaluation, ("square",)) as workers, pytest.raises(WorkerDied) as death:
        list(workers.run({7: {"number": 7, "folder": str(tmp_path), "deaths": DEATHS}}))
    assert death.value.args[0] == 7
    assert len(list(tmp_path.iterdir())) == DEATHS


PARENT = """
import os, sys, time
sys.path.insert(0, {tests!r})
from test_workers import evaluation
from stages.workers import Workers
if __name__ == "__main__":
    with Workers(2, evaluation, ("idle",)) as workers:
        for _ in workers.run({{number: dict(folder={folder!r}, number=number) for number in range(2)}}):
            pass
"""


def idle(folder: str, number: int) -> None:
    Path(folder, f"{os.getpid()}").touch()
    time.sleep(600)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_its_parent(sent: signal.Signals, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(tests=str(Path(__file__).parent), folder=str(pids)))
    root = Path(__file__).parents[1]
    parent = subprocess.Popen(
        [sys.executable, script], env=os.environ | {"PYTHONPATH": str(root)}, stderr=subprocess.DEVNULL
    )
    workers = wait_for(lambda: [int(path.name) for path in pids.iterdir()], 2)
    parent.send_signal(sent)
    assert parent.wait(30) != 0
    wait_for(lambda: [pid for pid in workers if not running(pid)], 2)


def wait_for(found, count: int) -> list[int]:
    end = time.monotonic() + 60
    while len(items := found()) < count:
        assert time.monotonic() < end
        time.sleep(0.05)
    return items


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().split()[2] == "Z")
