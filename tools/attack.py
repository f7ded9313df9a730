"""`make attack`: kills, races, damaged studies, mutated settings, generated entries and dead clusters, in a clone.

Whatever happens, no kept result may be lost or changed, none may be wrong, and no traceback may be seen. Prints how
often each outcome was seen, then what failed, and exits 1 if anything did. Half an hour on two idle cores; fewer with
options, such as --kills 10 --settings 0.
"""

import argparse
import io
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import redirect_stdout, suppress
from pathlib import Path

import distributed
import hypothesis
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import forks
import test_entries
from conftest import ENV, PIPELINE, ROOT, bare_clone, reproduced
from test_cluster import Dask

from stages.common import mnist

STAGE = [sys.executable, "-m", "stages"]
SWEEP = [*STAGE, "sweep"]
REPRO = ["dvc", "repro", "--single-item", "sweep"]
STUDY, TABLE = "data/studies/sweep.sqlite3", "plots/trials/sweep.csv"
LOCKED = "locked by process"
LONGEST = 8.0  # seconds until a stage is killed: about what the longest ones of the slice take
NASTY: list = [
    *(0, -1, 1, 2, 10**6, 10**12, 2**60, 10**400, 1e-5, 1e300, -1e300, float("nan"), float("inf"), True, None, "", "x"),
    *("1e-05", "cuda:99999999999", "\x1b[31m", "../..", "é" * 1000, [], [1], {}, {"low": 1, "high": 0}, [[]] * 9),
]
RAW = [b"\xff\xfe", b"a: !!int abc", b"a: 2026-13-45", b"[" * 1000, b"a: &a [*a]", b"a: " + b"9" * 5000, b"{", b""]


class Attack:
    """A clone with all results, what it then holds of the sweep, and what was seen."""

    def __init__(self, folder: Path, seed: int):
        self.seed, self.random = seed, random.Random(seed)
        self.seen: Counter[str] = Counter()
        self.faults: list[str] = []
        self.number = 0
        digits = str(ROOT / mnist.FOLDER)
        self.clone = reproduced(bare_clone(folder / "bare"), folder / "project", *PIPELINE["stages"], run__mnist=digits)
        self.clone.set(run__workers=2)
        self.params = (self.clone.folder / "params.yaml").read_bytes()
        self.forget()
        start = time.monotonic()
        subprocess.run(SWEEP, cwd=self.clone.folder, env=ENV, check=True)
        self.seconds = time.monotonic() - start
        self.table, self.study = self.clone.read(TABLE), (self.clone.folder / STUDY).read_bytes()

    def forget(self) -> None:
        for path in (STUDY, TABLE):
            (self.clone.folder / path).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Removes the studies that were renamed: what they hold does not count as kept by the runs that follow."""
        for path in (self.clone.folder / "data/studies").glob("*-*.sqlite3"):
            path.unlink()

    def kept(self, name: str = "sweep") -> set[tuple]:
        """The finished trials in a study's files, renamed ones too, and their results, as SQLite alone reads them."""
        trials: set[tuple] = set()
        for path in (self.clone.folder / "data/studies").glob(f"{name}[-.]*sqlite3"):
            with sqlite3.connect(f"file:{path}?immutable=1", uri=True) as database:
                trials |= set(database.execute("SELECT number, value FROM trials JOIN trial_values USING (trial_id)"))
        return trials

    def start(self, command: list[str]) -> tuple[subprocess.Popen, Path]:
        self.number += 1
        log = self.clone.folder / f"log-{self.number}"
        with log.open("w") as file:
            return subprocess.Popen(
                command, cwd=self.clone.folder, env=ENV, stdout=file, stderr=file, start_new_session=True
            ), log

    def ended(self, process: subprocess.Popen, log: Path, kill: bool = False) -> tuple[int, str]:
        """Status and output of what `start` has started."""
        with suppress(ProcessLookupError):
            if kill:
                os.killpg(process.pid, signal.SIGKILL)
        return process.wait(), log.read_text()

    def forked(self, stage: str, timeout: float) -> tuple[int, str]:
        return forks.run(self.clone.folder, [*STAGE, stage], ENV, timeout)

    def note(self, what: str, status: int, output: str, *wrong: str) -> None:
        """Counts the outcome of a run, and what is wrong with it."""
        lines = [line for line in output.splitlines() if not line.startswith(("sweep: ", "Running", "> ", "Updating"))]
        outcome = "ended well" if status == 0 else "killed" if status < 0 else "one line"
        if LOCKED in output:
            outcome = "waits for the other run"
        elif status > 0 and "rwlock" in output:
            outcome = "DVC's empty rwlock"
            (self.clone.folder / ".dvc/tmp/rwlock").unlink()
        self.seen[f"{what}: {outcome}"] += 1
        if "Traceback" in output or "Error:" in output:
            wrong += ("traceback",)
        if status > 0 and not lines:
            wrong += ("no word",)
        if status >= 0 and (left := list(self.clone.folder.glob("[mpd]*/**/.*.part"))):
            wrong += (f"left {left[0].name}",)
        for fault in wrong:
            self.seen[f"{what}: {fault}"] += 1
            self.faults.append(f"{what}: {fault}: status {status}: {output[-1500:]}")

    def judge(self, what: str, status: int, output: str, before: set[tuple]) -> None:
        """Notes the outcome of a run of the sweep, before which these trials were kept."""
        wrong = ["lost"] if before and before - self.kept() else []  # a damaged study is not read
        if status == 0 and self.clone.read(TABLE) != self.table:
            wrong.append("wrong table")
        self.note(what, status, output, *wrong)

    def stages(self) -> None:
        """Every stage of dvc.yaml, a template by one of its entries, killed at a random instant and run again."""
        settings = yaml.safe_load(self.params)
        for name, stage in PIPELINE["stages"].items():
            section = stage.get("foreach", "").strip("${}")
            self.stage(name, *([self.random.choice(list(settings[section]))] if section else []))

    def stage(self, *words: str) -> None:
        self.tidy()
        before, kept, locked = self.results(), self.kept(words[-1]), self.clone.folder / "dvc.lock"
        lock = locked.read_bytes()
        again = ["dvc", "repro", "--force", "--single-item", "@".join(words)]
        if words == ("download",):
            (self.clone.folder / mnist.FOLDER / self.random.choice(list(mnist.FILES))).unlink()
        study = self.clone.folder / f"data/studies/{words[-1]}.sqlite3"
        if study.exists():  # with all its trials, it would run none
            study.rename(study.with_stem(f"{study.stem}-aside"))
        started, what = self.start(self.random.choice(([*STAGE, *words], again))), f"stages, {words[0]}"
        time.sleep(self.random.uniform(0, LONGEST))
        self.note(what, *self.ended(*started, kill=True), *(["lost"] if kept - self.kept(words[-1]) else []))
        for _ in range(2):
            status, output = self.ended(*self.start(again))
            self.note(f"{what}, afterwards", status, output)
            if status == 0:
                break
            locked.write_bytes(lock)  # DVC does not write it at once: `git restore dvc.lock`, as README says
        other = sorted(path for path, content in self.results().items() if before.pop(path, None) != content)
        if status or other or before or kept - self.kept(words[-1]):
            self.faults.append(f"{what}, {words[-1]}: not as before: {[*other, *before]}: {output[-1500:]}")

    def results(self) -> dict[str, bytes]:
        """Without what is hidden: parts of files that a kill has left."""
        return {path: content for path, content in self.clone.results().items() if "/." not in path}

    def entries(self, count: int) -> None:
        """The generator of tests/test_entries.py, with another seed and more examples."""
        if not count:
            return
        many = hypothesis.settings(
            test_entries.made_the_same_in_every_run, max_examples=count, derandomize=False, database=None
        )
        check = many(hypothesis.given(test_entries.entries())(lambda made: test_entries.check(*made)))
        try:
            with redirect_stdout(io.StringIO()):
                hypothesis.seed(self.seed)(check)()
            self.seen["entries: a report or one line"] += count
        except Exception:
            self.faults.append(f"entries: {traceback.format_exc()}")

    def kills(self) -> None:
        """One SIGKILL at a random instant, of all processes or of the first one alone, whose others then live on."""
        before = self.kept()
        if len(before) == 6:
            self.forget()
            before = set()
        process, log = self.start(self.random.choice((SWEEP, REPRO)))
        time.sleep(self.random.uniform(0, self.seconds * 1.2))
        if self.random.random() < 0.5:
            process.kill()
            time.sleep(self.random.uniform(0, 1))
            again = self.start(SWEEP)
            time.sleep(self.random.uniform(0, self.seconds))
            self.judge("kills", *self.ended(*again, kill=True), before)
        self.judge("kills", *self.ended(process, log, kill=True), before)

    def pairs(self) -> None:
        """Two runs at once: one of them ends well, the other too or in a line that says which one is at it."""
        if self.random.random() < 0.5:
            self.forget()
        before = self.kept()
        started = self.start(SWEEP), self.start(self.random.choice((SWEEP, REPRO)))
        ended = [self.ended(*each) for each in started]
        for status, output in ended:
            self.judge("pairs", status, output, before)
        if all(status for status, _ in ended):
            self.faults.append(f"pairs: none ended well: {ended}")

    def studies(self) -> None:
        """A study that was truncated, or flipped in some bits: the same table, or one line."""
        path, kind = self.clone.folder / STUDY, self.random.choice(("truncated", "flipped"))
        content = bytearray(self.study)
        if kind == "truncated":
            del content[self.random.randrange(len(content)) :]
        for _ in range(self.random.choice((1, 10, 100)) if kind == "flipped" else 0):
            content[self.random.randrange(len(content))] ^= 1 << self.random.randrange(8)
        path.write_bytes(content)
        self.judge(f"studies, {kind}", *self.forked("sweep", 300), set())
        if path.read_bytes() != content:
            self.faults.append(f"studies: {kind}: a file was changed that may hold results")
        path.write_bytes(self.study)

    def settings(self) -> None:
        """A random value in place of a setting, or a file that is none; of a stage that draws, or that trains."""
        path = self.clone.folder / "params.yaml"
        if self.random.random() < 0.1:
            path.write_bytes(self.random.choice(RAW))
        else:
            content = section = yaml.safe_load(self.params)
            while True:
                key = self.random.choice(list(section))
                if not isinstance(section[key], dict) or not section[key] or self.random.random() < 0.2:
                    break
                section = section[key]
            if self.random.random() < 0.1:
                section[f"{key}s"] = section.pop(key)
            else:
                section[key] = self.random.choice(NASTY)
            path.write_text(yaml.safe_dump(content, allow_unicode=True))
        stage = self.random.choice(("contour", "baseline"))
        kept = self.kept()
        ended = self.forked(stage, 20)
        self.note("settings", *ended, *(["lost"] if kept - self.kept() else []))
        path.write_bytes(self.params)

    def deaths(self) -> None:
        """A worker or the scheduler of a cluster dies in a sweep; here, it then goes on to the same table."""
        self.forget()
        cluster, what = Dask(self.clone.folder / f"cluster-{self.number}"), self.random.choice(("worker", "scheduler"))
        try:
            cluster.worker(count=2)
            self.clone.set(run__scheduler=cluster.address)
            process, log = self.start(SWEEP)
            while process.poll() is None and " trials done" not in log.read_text():
                time.sleep(0.1)
            time.sleep(self.random.uniform(0, self.seconds))
            if what == "scheduler":
                cluster.scheduler.kill()
            else:
                with distributed.Client(cluster.address) as client:
                    os.kill(self.random.choice(list(client.run(os.getpid).values())), signal.SIGKILL)
            self.judge(f"deaths, {what}", *self.ended(process, log), set())
        finally:
            (self.clone.folder / "params.yaml").write_bytes(self.params)
            cluster.close()
        before = self.kept()
        self.judge(f"deaths, {what}, afterwards", *self.ended(*self.start(SWEEP)), before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parts = {"stages": 3, "kills": 60, "pairs": 20, "studies": 60, "settings": 300, "deaths": 13, "entries": 500}
    for name, count in parts.items():
        parser.add_argument(f"--{name}", type=int, default=count, help=f"default: {count}")
    parser.add_argument("--seed", type=int, default=1998)
    given = vars(parser.parse_args())
    with tempfile.TemporaryDirectory() as folder:
        attack = Attack(Path(folder), given["seed"])
        print(f"a sweep takes {attack.seconds:.0f} s", flush=True)
        for name in parts:
            if name == "entries":
                attack.entries(given[name])
            else:
                for _ in range(given[name]):
                    getattr(attack, name)()
            attack.tidy()
            (attack.clone.folder / STUDY).write_bytes(attack.study)
            (attack.clone.folder / TABLE).write_text(attack.table)
            for outcome in sorted(key for key in attack.seen if key.startswith(name)):
                print(f"{outcome}: {attack.seen[outcome]}", flush=True)
    print("\n\n".join(attack.faults) or "nothing lost, nothing wrong, no traceback")
    sys.exit(1 if attack.faults else 0)


if __name__ == "__main__":
    main()
