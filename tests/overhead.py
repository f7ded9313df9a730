"""`make overhead`: what a trial costs beside its evaluation (proposal, storage, messages), by the length of the study.

A real sweep, with real worker processes, of an evaluation that does nothing.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from stages import params, study
from stages.evaluation import Evaluation
from stages.fingerprint import fingerprint
from stages.workers import Workers

LENGTHS = (200, 1000, 5000)


def nothing() -> Callable:
    return evaluate


def evaluate(mean: float, std: float) -> dict:
    accuracy = 0.985 - abs(mean) / std / 1000
    return {"accuracy": accuracy, "accuracy_even": accuracy, "accuracy_odd": accuracy, "loss": 0.05, "device": "none"}


def main() -> None:
    settings = params.load()
    sweep = settings.sweep.model_copy(update={"n_trials": max(LENGTHS)})
    print("| trials | ms for a trial, since the line above | minutes in all |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, Workers(2, nothing, ()) as workers:
        kept = study.open_study(fingerprint(settings, sweep, Evaluation), Path(folder, "study.sqlite3"))
        start = before = time.perf_counter()
        done = since = 0
        for batch in study.batches(kept, sweep):
            trials = {trial.number: trial for trial in batch}
            for number, result in workers.run({number: trial.params for number, trial in trials.items()}):
                study.keep(kept, trials[number], result)
                done += 1
            if done in LENGTHS:
                now = time.perf_counter()
                print(
                    f"| {done} | {1000 * (now - before) / (done - since):.1f} | {(now - start) / 60:.1f} |", flush=True
                )
                before, since = now, done


if __name__ == "__main__":
    main()
