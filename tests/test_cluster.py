"""A Dask cluster gives the study that this machine gives, also when its workers die."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from conftest import ENV, Clone
from test_workers import wait_for


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    """A scheduler and two worker processes, in a folder without the project's code; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    folder = tmp_path / "cluster"
    folder.mkdir()
    dask = [sys.executable, "-m", "distributed.cli.dask_"]
    commands = (
        ["scheduler", "--host", "127.0.0.1", "--port", address.split(":")[-1], "--no-dashboard"],
        ["worker", address, "--nworkers", "2", "--nthreads", "1", "--no-dashboard"],
    )
    with (tmp_path / "cluster.log").open("w") as log:
        running = [
            subprocess.Popen([*dask[:-1], dask[-1] + name, *rest], cwd=folder, env=ENV, stdout=log, stderr=log)
            for name, *rest in commands
        ]
    yield address
    for process in reversed(running):
        process.terminate()
        process.wait(30)


def forget(project: Clone) -> None:
    for path in ("data/studies/sweep.sqlite3", "plots/sweep.csv"):
        (project.folder / path).unlink()


def test_cluster_gives_the_same_study_also_when_a_worker_dies(project: Clone, scheduler: str) -> None:
    local = project.read("plots/sweep.csv")
    forget(project)
    project.set(run__scheduler=scheduler)
    log = project.folder / "log"
    with log.open("w") as file:
        sweep = subprocess.Popen(
            [sys.executable, "-m", "stages", "sweep"], cwd=project.folder, env=ENV, stdout=file, stderr=file
        )
        wait_for(lambda: [1] * ("sweep: 1/6" in log.read_text() or bool(sweep.poll())), 1)
        time.sleep(1)  # the next trials are running
        import distributed

        with distributed.Client(scheduler) as client:
            pids = list(client.run(os.getpid).values())
        os.kill(pids[0], signal.SIGKILL)
        assert sweep.wait(300) == 0, log.read_text()
    assert project.read("plots/sweep.csv") == local


def states(log: Path) -> list[str]:
    """Of the progress bar, as far as they were written."""
    return re.findall(r"sweep: \d+/24", log.read_text())


@pytest.mark.slow
def test_study_of_24_trials_is_the_same_whoever_runs_it(project: Clone, scheduler: str) -> None:
    """One worker, two, a cluster, and a run that is killed at ten random instants."""
    project.set(sweep__n_trials=24, sweep__batch=8)

    def table(**settings: object) -> str:
        forget(project)
        project.set(**settings)
        project.run(sys.executable, "-m", "stages", "sweep")
        return project.read("plots/sweep.csv")

    (project.folder / "data/studies/sweep.sqlite3").unlink()
    project.run(sys.executable, "-m", "stages", "sweep")
    one = table(run__workers=1)
    assert table(run__workers=2) == one
    assert table(run__workers=3) == one
    assert table(run__scheduler=scheduler) == one

    forget(project)
    project.set(run__scheduler=None, run__workers=2)
    instants = random.Random(3)
    for kill in range(10):
        log = project.folder / f"log-{kill}"
        with log.open("w") as file:
            sweep = subprocess.Popen(
                [sys.executable, "-m", "stages", "sweep"], cwd=project.folder, env=ENV, stdout=file, stderr=file
            )
        # Every other one after its first new trial, so that each of them gets on, however fast the machine is.
        wait_for(partial(states, log), 1 + kill % 2)
        time.sleep(instants.uniform(0, 1))
        assert sweep.poll() is None, f"kill {kill}: the study ended before: {log.read_text()}"
        sweep.kill()
        sweep.wait()
    project.run(sys.executable, "-m", "stages", "sweep")
    assert project.read("plots/sweep.csv") == one


def test_absent_scheduler_is_one_line(project: Clone) -> None:
    project.set(run__scheduler="tcp://127.0.0.1:9", sweep__n_trials=7)
    failed = project.run(
        sys.executable, "-m", "stages", "sweep", check=False, DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="2s"
    )
    assert failed.returncode == 1
    assert "run.scheduler = 'tcp://127.0.0.1:9': no scheduler answers" in failed.stdout
    assert "Traceback" not in failed.stdout
