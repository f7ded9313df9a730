"""A Dask cluster gives the study that this machine gives, also when its workers die."""

import os
import pickle
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import distributed
import pytest
from conftest import ENV, ROOT, Clone
from distributed.utils import open_port
from test_workers import wait_for

from stages.study.worker import Project

CONNECT = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "2s"}
WHO = ("CLIENT", "SCHEDULER", "WORKER")  # that have a certificate, here the same


class Dask:
    """A scheduler, and workers as they are started, in a folder without the project's code."""

    def __init__(self, folder: Path, protocol: str = "tcp", **env: str):
        folder.mkdir()
        self.folder, self.env, self.address = folder, ENV | env, f"{protocol}://127.0.0.1:{open_port()}"
        self.running: list[subprocess.Popen] = []
        self.scheduler = self.start("scheduler", "--host", self.address)

    def start(self, name: str, *options: str) -> subprocess.Popen:
        command = [sys.executable, "-m", f"distributed.cli.dask_{name}", *options, "--no-dashboard"]
        with (self.folder / "log").open("a") as log:
            self.running.append(subprocess.Popen(command, cwd=self.folder, env=self.env, stdout=log, stderr=log))
        return self.running[-1]

    def worker(self, *options: str, threads: int = 1, count: int = 1) -> None:
        self.start("worker", self.address, "--nworkers", str(count), "--nthreads", str(threads), *options)

    def close(self) -> None:
        for process in reversed(self.running):
            process.terminate()
            process.wait(30)


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[Dask]:
    with closing(Dask(tmp_path / "cluster")) as cluster:
        yield cluster


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
        (project.folder / path).unlink(missing_ok=True)


def test_cluster_gives_the_same_study_also_when_a_worker_dies(swept: Clone, dask: Dask) -> None:
    local = swept.read("plots/trials/sweep.csv")
    forget(swept)
    swept.set(run__scheduler=dask.address)
    dask.worker(count=2)
    sweep = Sweep(swept)
    sweep.said("sweep: 1/6")
    time.sleep(1)  # the next trials are running
    with distributed.Client(dask.address) as client:
        pids = list(client.run(os.getpid).values())
    os.kill(pids[0], signal.SIGKILL)
    sweep.ended(0)
    assert swept.read("plots/trials/sweep.csv") == local


@pytest.mark.slow
def test_study_of_24_trials_is_the_same_whoever_runs_it(swept: Clone, dask: Dask) -> None:
    """One worker, two, three, a cluster, and a run that is killed at ten random instants."""
    dask.worker(count=2)
    swept.set(sweep__n_trials=24, sweep__batch=8)
    tables = []
    for setting in ({"workers": 1}, {"workers": 2}, {"workers": 3}, {"scheduler": dask.address}):
        forget(swept)
        swept.set(**{f"run__{name}": value for name, value in setting.items()})
        Sweep(swept).ended(0)
        tables.append(swept.read("plots/trials/sweep.csv"))

    forget(swept)
    swept.set(run__scheduler=None, run__workers=2)
    instants = random.Random(3)
    for kill in range(10):
        sweep = Sweep(swept)
        # Every other one after its first new trial, so that each of them gets on, however fast the machine is.
        wait_for(lambda: re.findall(r"sweep: \d+/24 trials \(", sweep.log.read_text()), 1 + kill % 2)  # noqa: B023
        time.sleep(instants.uniform(0, 1))
        assert sweep.process.poll() is None, f"kill {kill}: the study ended before: {sweep.log.read_text()}"
        sweep.process.kill()
        sweep.process.wait()
    Sweep(swept).ended(0)
    assert {*tables, swept.read("plots/trials/sweep.csv")} == {tables[0]}


OTHER_PYTHON = (
    "import contextlib, platform; vars(contextlib).pop('chdir', 0); platform.python_version = lambda: '3.9.1'"
)


@pytest.mark.slow
def test_sweep_waits_for_a_worker_says_so_and_passes_over_unfit_ones(unfinished: Clone, dask: Dask) -> None:
    unfinished.set(run__scheduler=dask.address, sweep__n_trials=2)
    sweep = Sweep(unfinished)
    sweep.said("no worker is ready; waiting")
    dask.worker(threads=2)
    sweep.said("has 2 threads; start it with --nthreads 1; worker skipped")
    (dask.folder / "preload.py").write_text(OTHER_PYTHON, encoding="utf-8")
    dask.worker("--preload", str(dask.folder / "preload.py"))
    sweep.said("has Python 3.9.1; here it is 3.")
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


def test_nothing_that_is_sent_is_code_of_this_python() -> None:
    """Another Python would die of it, with signal 11."""
    assert b"CodeType" not in (sent := pickle.dumps(Project("study", {}, b"", "3.11.7")))
    assert pickle.loads(sent).name == "study"


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


def test_dasks_own_log_is_no_part_of_the_output() -> None:
    """A scheduler that dies while a message is on its way makes Dask log a traceback."""
    lost = "import logging, stages.study.cluster; logging.getLogger('distributed.batched').exception('lost')"
    ran = subprocess.run([sys.executable, "-c", lost], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout + ran.stderr == ""


@pytest.mark.slow
def test_scheduler_with_certificates_is_reached_by_dasks_own_configuration(unfinished: Clone, tmp_path: Path) -> None:
    names = {name: str(tmp_path / f"{name}.pem") for name in ("key", "cert")}
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject]
    subprocess.run([*made, "-keyout", names["key"], "-out", names["cert"]], check=True, capture_output=True)
    tls = {f"DASK_DISTRIBUTED__COMM__TLS__{who}__{kind.upper()}": path for kind, path in names.items() for who in WHO}
    tls |= {"DASK_DISTRIBUTED__COMM__TLS__CA_FILE": names["cert"], "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true"}
    with closing(Dask(tmp_path / "cluster", "tls", **tls)) as cluster:
        cluster.worker()
        unfinished.set(run__scheduler=cluster.address, sweep__n_trials=2)
        assert "TLS" in Sweep(unfinished).ended(1).splitlines()[-1]  # without certificates
        assert "sweep: 2 trials" in Sweep(unfinished, **tls).ended(0)


def test_absent_scheduler_is_one_line(unfinished: Clone) -> None:
    unfinished.set(run__scheduler="tcp://127.0.0.1:9", sweep__n_trials=7)
    before = unfinished.results()
    output = Sweep(unfinished, **CONNECT).ended(1)
    assert "run.scheduler = 'tcp://127.0.0.1:9': no scheduler answers" in output.splitlines()[-1]
    assert unfinished.results() == before
