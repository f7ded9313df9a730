"""Worker processes: one that dies costs its task only, and none outlives the study."""

import functools
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from stages.common.errors import InputError
from stages.study.local import DEATHS, Workers

TESTS = Path(__file__).parent
ENV = os.environ | {"PYTHONPATH": str(TESTS.parent)}


def evaluation(of: Callable[..., dict] | None) -> Callable[..., dict]:
    if not of:
        raise InputError("what is wrong with the input")
    return of


def square(number: int, folder: str, deaths: int = 0) -> dict:
    """The square, after as many calls have died of SIGKILL as `deaths` says."""
    died = len(list(Path(folder).glob(f"{number}-*")))
    Path(folder, f"{number}-{died}").touch()
    if died < deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.01)
    return {"square": number**2}


def test_tasks_run_and_a_dead_worker_costs_only_its_task(tmp_path: Path) -> None:
    tasks = {n: {"number": n, "folder": str(tmp_path), "deaths": DEATHS - 1 if n == 3 else 0} for n in range(6)}
    started: list[int] = []
    with Workers(2, functools.partial(evaluation, square)) as workers:
        results = dict(workers.run(tasks, started.append))
    assert {number: result["square"] for number, result in results.items()} == {n: n**2 for n in range(6)}
    assert all(0.01 <= result["seconds"] < 10 for result in results.values())
    assert len(list(tmp_path.iterdir())) == 6 + DEATHS - 1
    assert Counter(started) == {n: DEATHS if n == 3 else 1 for n in range(6)}  # again after each death


def test_task_that_kills_every_worker_is_given_up_and_named(tmp_path: Path) -> None:
    tasks = {7: {"number": 7, "folder": str(tmp_path), "deaths": DEATHS}}
    with (
        Workers(1, functools.partial(evaluation, square)) as workers,
        pytest.raises(InputError, match=r"trial 7 .* worker died"),
    ):
        list(workers.run(tasks, lambda _: None))
    assert len(list(tmp_path.iterdir())) == DEATHS


def test_task_starts_when_a_worker_takes_it_up_before_the_last_result_is_kept(tmp_path: Path) -> None:
    tasks = {n: {"number": n, "folder": str(tmp_path)} for n in range(5)}
    started: list[int] = []
    with Workers(1, functools.partial(evaluation, square)) as workers:
        for done, _ in enumerate(workers.run(tasks, started.append)):
            assert started == list(range(min(done + 2, 5)))  # no worker waits for what is done with a result


SCRIPT = """
import functools, signal, sys
sys.path.insert(0, {tests!r})
from test_workers import busy, evaluation, idle
from stages.study.local import Workers
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as stages do; a shell's background jobs ignore it
    tasks = {{number: dict(number=number, folder={folder!r}) for number in range(2)}}
    with Workers(2, functools.partial(evaluation, {state})) as workers:
        list(workers.run(tasks, lambda _: None))
"""


def idle(folder: str, number: int) -> dict:
    Path(folder, f"{os.getpid()}").touch()
    time.sleep(600)
    return {}


def busy(folder: str, number: int) -> dict:
    """As an import of a large library: no other thread of the process runs."""
    Path(folder, f"{os.getpid()}").touch()
    re.match("(a+)+$", 40 * "a" + "b")
    return {}


@pytest.mark.parametrize(
    ("sent", "state", "stopped"),
    [
        (signal.SIGKILL, "idle", 0),
        (signal.SIGINT, "idle", 0),
        (signal.SIGINT, "idle", 1),
        pytest.param(signal.SIGKILL, "busy", 0, marks=pytest.mark.skipif(sys.platform != "linux", reason="see local")),
    ],
)
def test_no_worker_outlives_its_parent(sent: signal.Signals, state: str, stopped: int, tmp_path: Path) -> None:
    calls, script = tmp_path / "calls", tmp_path / "script.py"
    calls.mkdir()
    script.write_text(SCRIPT.format(tests=str(TESTS), folder=str(calls), state=state))
    parent = subprocess.Popen([sys.executable, script], env=ENV, stderr=subprocess.DEVNULL)
    workers = wait_for(lambda: [psutil.Process(int(path.name)) for path in calls.iterdir()], 2)
    for worker in workers[:stopped]:
        worker.suspend()
    parent.send_signal(sent)
    assert parent.wait(30) != 0
    end = time.monotonic()
    wait_for(lambda: [worker for worker in workers if ended(worker)], 2)
    assert time.monotonic() - end < 2


def wait_for(items: Callable[[], list], count: int) -> list:
    """The items, as soon as there are so many."""
    end = time.monotonic() + 120  # also on a busy machine
    while len(now := items()) < count:
        assert time.monotonic() < end
        time.sleep(0.05)
    return now


def ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_end_of_workers_ends_no_other_process(tmp_path: Path) -> None:
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    other.start()
    with Workers(1, functools.partial(evaluation, square)) as workers:
        list(workers.run({1: {"number": 1, "folder": str(tmp_path)}}, lambda _: None))
    assert other.is_alive()
    other.kill()
    other.join()


def test_error_in_a_worker_is_raised_in_its_parent_and_says_where(tmp_path: Path) -> None:
    for of, kind, where in ((square, FileNotFoundError, "in square"), (None, InputError, "in evaluation")):
        with Workers(1, functools.partial(evaluation, of)) as workers, pytest.raises(kind) as error:
            list(workers.run({1: {"number": 1, "folder": str(tmp_path / "none")}}, lambda _: None))
        assert where in str(error.value.__cause__)
