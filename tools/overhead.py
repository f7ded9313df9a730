"""`make overhead`: what a trial costs besides its evaluation (proposal, storage, messages), by the length of the study,
and what it costs to open the study, with all its checks.

A real study, with real worker processes, of an evaluation that does nothing.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from stages.common.errors import run_main
from stages.lenet.trial import LenetTrial
from stages.settings import params
from stages.study import design, runner
from stages.study.fingerprint import fingerprint
from stages.study.local import Workers
from stages.study.proposals import Search
from stages.study.store import StudyFile

LENGTHS = (200, 1000, 5000)
WARM_UP = {number: {"mean": 0.0, "std": 1.0} for number in range(2)}  # one for each worker, which starts with it
SHARES = [f"{layer}_silent_{when}" for layer in ("conv1", "conv2", "fc1") for when in ("before", "after")]


def nothing() -> Callable[..., dict]:
    return evaluate


def evaluate(mean: float, std: float, **_: object) -> dict:
    """A result with the same names as that of a trial of LeNet: storage takes its time for each."""
    accuracy = 0.985 - abs(mean) / std / 1000
    result = dict.fromkeys(("accuracy", "accuracy_even", "accuracy_odd"), accuracy) | dict.fromkeys(SHARES, 0.5)
    return result | {"loss": 0.05, "accuracy_by_epoch": [accuracy], "loss_by_epoch": [0.05], "device": "none"}


def main(lengths: Sequence[int] = LENGTHS) -> None:
    from overhead import nothing  # by a name that workers can import: they do not import the main script

    settings = params.load()
    sweep = settings.sweep.model_copy(update={"n_trials": max(lengths)})
    plan = Search(sweep, design.fixed(settings, None, sweep, sweep.train))
    determinants = fingerprint(settings, plan.determinants(), LenetTrial)
    print("| trials | ms for a trial, since the line above | minutes in all | s to open and check the study |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, Workers(len(WARM_UP), nothing, ()) as workers:
        list(workers.run(WARM_UP, lambda _: None))
        path = Path(folder, "study.sqlite3")
        file = StudyFile(determinants, path)
        total, before, start = 0.0, 0, time.perf_counter()
        for done, _ in enumerate(runner._evaluated(file, plan, workers), 1):
            if done in lengths:
                seconds = time.perf_counter() - start
                total += seconds
                opening = time.perf_counter()
                plan.check(StudyFile(determinants, path).study)
                start = time.perf_counter()
                each = 1000 * seconds / (done - before)
                print(f"| {done} | {each:.1f} | {total / 60:.1f} | {start - opening:.2f} |", flush=True)
                before = done


if __name__ == "__main__":
    run_main(main)
