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

import distributed
import pytest
from conftest import ENV, Clone
from test_workers import wait_for

CONNECT = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "2s"}
WHO = ("CLIENT", "SCHEDULER", "WORKER")  # that have a certificate, here the same


class Dask:
    """A scheduler, and workers as they are started, in a folder without the project's code."""

    def __init__(self, folder: Path, protocol: str = "tcp", **env: str):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        folder.mkdir()
        self.folder, self.env, self.address = folder, ENV | env, f"{protocol}://127.0.0.1:{port}"
        self.running: list[subprocess.Popen] = []
        self.scheduler = self.start("scheduler", "--host", f"{protocol}://127.0.0.1", "--port", str(port))

    def start(self, name: str, *options: str) -> subprocess.Popen:
        command = [sys.executable, "-m", f"distributed.cli.dask_{name}", *options, "--no-dashboard"]
        with (self.folder / "log").open("a") as log:
            self.running.append(subprocess.Popen(command, cwd=self.folder, env=self.env, stdout=log, stderr=log))
        return self.running[-1]

    def worker(self, *options: str, threads: int = 1, count: int = 1) -> subprocess.Popen:
        return self.start("worker", self.address, "--nworkers", str(count), "--nthreads", str(threads), *options)

    def end(self) -> None:
        for process in reversed(self.running):
            process.terminate()
            process.wait(30)


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[Dask]:
    cluster = Dask(tmp_path / "cluster")
    yield cluster
    cluster.end()


@pytest.fixture
def scheduler(dask: Dask) -> str:
    """The address of a scheduler with two workers."""
    dask.worker(count=2)
    return dask.address


class Sweep:
    """A sweep that runs in a clone."""

    def __init__(self, clone: Clone, **env: str):
        self.log = clone.folder / "log"
        with self.log.open("w") as log:
            command = [sys.executable, "-m", "stages", "sweep"]
            self.process = subprocess.Popen(command, cwd=clone.folder, env=ENV | env, stdout=log, stderr=log)

    def said(self, text: str) -> None:
        """Waits for it."""
        wait_for(lambda: [1] * (text in self.log.read_text() or self.process.poll() is not None), 1)
        assert text in self.log.read_text(), self.log.read_text()

    def ended(self, status: int) -> str:
        assert self.process.wait(300) == status, self.log.read_text()
        assert "Traceback" not in self.log.read_text()
        return self.log.read_text()


def forget(project: Clone) -> None:
    for path in ("data/studies/sweep.sqlite3", "plots/trials/sweep.csv"):
        (project.folder / path).unlink()


def test_cluster_gives_the_same_study_also_when_a_worker_dies(swept: Clone, scheduler: str) -> None:
    local = swept.read("plots/trials/sweep.csv")
    forget(swept)
    swept.set(run__scheduler=scheduler)
    sweep = Sweep(swept)
    sweep.said("sweep: 1/6")
    time.sleep(1)  # the next trials are running
    with distributed.Client(scheduler) as client:
        pids = list(client.run(os.getpid).values())
    os.kill(pids[0], signal.SIGKILL)
    sweep.ended(0)
    assert swept.read("plots/trials/sweep.csv") == local


def states(log: Path) -> list[str]:
    """Of the progress bar, as far as they were written."""
    return re.findall(r"sweep: \d+/24 \(", log.read_text())


@pytest.mark.slow
def test_study_of_24_trials_is_the_same_whoever_runs_it(swept: Clone, scheduler: str) -> None:
    """One worker, two, a cluster, and a run that is killed at ten random instants."""
    swept.set(sweep__n_trials=24, sweep__batch=8)

    def table(**settings: object) -> str:
        forget(swept)
        swept.set(**settings)
        swept.run(sys.executable, "-m", "stages", "sweep")
        return swept.read("plots/trials/sweep.csv")

    (swept.folder / "data/studies/sweep.sqlite3").unlink()
    swept.run(sys.executable, "-m", "stages", "sweep")
    one = table(run__workers=1)
    assert table(run__workers=2) == one
    assert table(run__workers=3) == one
    assert table(run__scheduler=scheduler) == one

    forget(swept)
    swept.set(run__scheduler=None, run__workers=2)
    instants = random.Random(3)
    for kill in range(10):
        log = swept.folder / f"log-{kill}"
        with log.open("w") as file:
            sweep = subprocess.Popen(
                [sys.executable, "-m", "stages", "sweep"], cwd=swept.folder, env=ENV, stdout=file, stderr=file
            )
        # Every other one after its first new trial, so that each of them gets on, however fast the machine is.
        wait_for(partial(states, log), 1 + kill % 2)
        time.sleep(instants.uniform(0, 1))
        assert sweep.poll() is None, f"kill {kill}: the study ended before: {log.read_text()}"
        sweep.kill()
        sweep.wait()
    swept.run(sys.executable, "-m", "stages", "sweep")
    assert swept.read("plots/trials/sweep.csv") == one


@pytest.mark.slow
def test_sweep_waits_for_a_worker_says_so_and_passes_over_one_that_is_unfit(unfinished: Clone, dask: Dask) -> None:
    unfinished.set(run__scheduler=dask.address, sweep__n_trials=2)
    sweep = Sweep(unfinished)
    sweep.said("no workers yet; waiting")
    dask.worker(threads=2)
    sweep.said("has 2 threads; start it with --nthreads 1; worker skipped")
    dask.worker()
    assert "sweep: 2 trials" in sweep.ended(0)


def test_cluster_of_unfit_workers_is_refused_and_nothing_is_written(unfinished: Clone, dask: Dask) -> None:
    dask.worker(threads=2)
    with distributed.Client(dask.address) as client:
        client.wait_for_workers(1)
    unfinished.set(run__scheduler=dask.address)
    output = Sweep(unfinished).ended(1)
    assert "has 2 threads; start it with --nthreads 1; worker skipped" in output
    assert "no worker is ready" in output
    assert not list(unfinished.folder.glob("data/studies/*.sqlite3"))


OTHER_PYTHON = """
from distributed import node

def versions(packages=None, before=node.get_versions):
    return before(packages) | {"packages": {"python": "3.9.1.final.0"}}

node.get_versions = versions
"""


def test_worker_of_another_python_is_named_before_code_that_kills_it_is_sent(unfinished: Clone, dask: Dask) -> None:
    preload = dask.folder / "preload.py"
    preload.write_text(OTHER_PYTHON, encoding="utf-8")
    worker = dask.worker("--preload", str(preload), "--no-nanny")
    with distributed.Client(dask.address) as client:
        client.wait_for_workers(1)
    unfinished.set(run__scheduler=dask.address)
    last = Sweep(unfinished).ended(1).splitlines()[-1]
    assert re.search(r"run.scheduler = .*: tcp://.* has Python 3\.9\.1\S*; accepted: 3\.\d+\.x, as here$", last)
    assert worker.poll() is None


@pytest.mark.slow
def test_scheduler_that_dies_is_one_line_and_what_is_finished_is_kept(unfinished: Clone, dask: Dask) -> None:
    dask.worker()
    unfinished.set(run__scheduler=dask.address)
    sweep = Sweep(unfinished)
    sweep.said("sweep: 1/6")
    dask.scheduler.kill()
    assert "the scheduler is gone; finished trials are kept" in sweep.ended(1).splitlines()[-1]
    unfinished.set(run__scheduler=None, sweep__n_trials=1)
    assert "1/1 trials done" in unfinished.run(sys.executable, "-m", "stages", "sweep").stdout


@pytest.mark.slow
def test_scheduler_with_certificates_is_reached_by_dasks_own_configuration(unfinished: Clone, tmp_path: Path) -> None:
    names = {name: str(tmp_path / f"{name}.pem") for name in ("key", "cert")}
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject]
    subprocess.run([*made, "-keyout", names["key"], "-out", names["cert"]], check=True, capture_output=True)
    tls = {f"DASK_DISTRIBUTED__COMM__TLS__{who}__{kind.upper()}": path for kind, path in names.items() for who in WHO}
    tls |= {"DASK_DISTRIBUTED__COMM__TLS__CA_FILE": names["cert"], "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true"}
    cluster = Dask(tmp_path / "cluster", "tls", **tls)
    cluster.worker()
    try:
        unfinished.set(run__scheduler=cluster.address, sweep__n_trials=2)
        assert "TLS" in Sweep(unfinished).ended(1).splitlines()[-1]  # without certificates
        assert "sweep: 2 trials" in Sweep(unfinished, **tls).ended(0)
        unfinished.set(run__scheduler=cluster.address.replace("tls", "tcp"), sweep__n_trials=4)
        assert "no scheduler answers" in Sweep(unfinished, **CONNECT).ended(1).splitlines()[-1]
    finally:
        cluster.end()


def test_absent_scheduler_is_one_line(unfinished: Clone) -> None:
    unfinished.set(run__scheduler="tcp://127.0.0.1:9", sweep__n_trials=7)
    before = unfinished.results()
    output = Sweep(unfinished, **CONNECT).ended(1)
    assert "run.scheduler = 'tcp://127.0.0.1:9': no scheduler answers" in output.splitlines()[-1]
    assert unfinished.results() == before
