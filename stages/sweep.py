"""Stage `sweep`: the Optuna study of test accuracy over (mean, std)."""

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import torch
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from stages import device, mnist, outputs, params, progress, study
from stages.evaluation import Evaluation, Result
from stages.fingerprint import fingerprint
from stages.params import InputError, Params, Sweep
from stages.workers import WorkerDied, Workers

if TYPE_CHECKING:
    from stages.cluster import Cluster

MACHINE = Path("data/machine/sweep.json")
LEARNED = 0.5  # a trial below this accuracy has failed to learn: chance is 0.1, and what learns reaches 0.9


def main() -> None:
    """Brings the study to `sweep.n_trials` completed trials and writes its table and metrics."""
    settings = params.load()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what batch systems send ends like Ctrl-C
    try:
        trials = run(settings)
    except (SQLAlchemyError, StorageInternalError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise InputError(f"{study.PATH}: {reason}; what it held is kept") from None
    except WorkerDied as death:
        number, mean, std = death.args[0]
        raise InputError(
            f"trial {number} (mean {mean}, std {std}): its worker died, also when repeated; is there enough memory?"
        ) from None
    except KeyboardInterrupt:
        raise InputError(
            f"sweep: interrupted; what is finished is in {study.PATH}, the next run goes on from there"
        ) from None
    write(trials, settings.sweep)


def run(settings: Params) -> list[FrozenTrial]:
    """Evaluates the trials that the study lacks; returns all that were asked for, in order."""
    place = device.prepare(settings.run.device)
    mnist.load(1, 1)  # says what is wrong with the data before any worker starts
    kept, n_trials = study.open_study(fingerprint(settings), anew=forced()), settings.sweep.n_trials
    done = study.results(kept, n_trials)
    fresh = n_trials > len(done)
    on = settings.run.scheduler or f"{worker_count(settings, place)} at a time on {device.describe(place)}"
    print(f"sweep: {len(done)} of {n_trials} trials are there" + (f"; the others: {on}" if fresh else ""), flush=True)
    best = max((result["accuracy"] for result in done), default=0.0)
    with pool(settings, place) as workers, progress.bar("sweep", n_trials, "trials", len(done)) as bar:
        for batch in study.batches(kept, settings.sweep):
            tasks = {(trial.number, trial.params["mean"], trial.params["std"]): trial for trial in batch}
            for task, result in workers.run(tasks):
                study.keep(kept, tasks[task], result)
                best = max(best, result["accuracy"])
                bar.set_postfix_str(f"best accuracy {best:.4f}", refresh=False)
                bar.update()
    if fresh or not MACHINE.exists():
        outputs.write_machine(MACHINE, device.describe(place))
    return kept.trials[:n_trials]


def forced() -> bool:
    """Whether the DVC that runs this stage was started with --force: then all trials are evaluated again."""
    # DVC tells a stage its name, but not this, and it keeps the study, which persists.
    commands = [parent.cmdline() for parent in psutil.Process().parents()] if "DVC_STAGE" in os.environ else []
    return any(
        Path(word).stem == "dvc" and {"-f", "--force"} & set(command) for command in commands for word in command[:2]
    )


def pool(settings: Params, place: torch.device) -> "Workers | Cluster":
    """Who evaluates: the cluster that `run.scheduler` names, or processes on this machine."""
    if settings.run.scheduler:
        try:
            from stages.cluster import Cluster
        except ImportError:
            raise InputError(
                "run.scheduler needs Dask, which is not installed: pip install -c .constraints.txt '.[cluster]'"
            ) from None
        return Cluster(settings.run.scheduler, settings, fingerprint(settings))
    return Workers(worker_count(settings, place), Evaluation, (settings,))


def worker_count(settings: Params, place: torch.device) -> int:
    """How many trials run at a time: one on a GPU, else one for each `train.threads` cores that there are for us."""
    if settings.run.workers != "auto":
        return int(settings.run.workers)
    if place.type != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // settings.train.threads)


def write(trials: list[FrozenTrial], sweep: Sweep) -> None:
    """The table of the trials and the metrics of the study."""
    results = [trial.user_attrs[study.RESULT] for trial in trials]
    columns = ("accuracy", "loss", "accuracy_even", "accuracy_odd", "device")
    outputs.write_csv(
        Path("plots/trials.csv"),
        ("number", *params.Space.model_fields, *columns),
        (
            # Parameters as text: every digit, so that the table can be evaluated again.
            [trial.number, *map(str, trial.params.values()), *(result[column] for column in columns)]
            for trial, result in zip(trials, results, strict=True)
        ),
    )
    accuracy = np.array([result["accuracy"] for result in results])
    best = trials[int(accuracy.argmax())]
    good = [trials[number] for number in np.flatnonzero(accuracy >= accuracy.max() - sweep.tolerance)]
    outputs.write_json(
        Path("metrics/sweep.json"),
        {
            "best": {"number": best.number, "accuracy": accuracy.max(), "held_out": held_out(results), **best.params},
            "completed": sum(trial.state == TrialState.COMPLETE for trial in trials),
            "learned": int((accuracy >= LEARNED).sum()),
            "good": {"count": len(good)}
            | {name: spread([trial.params[name] for trial in good]) for name in best.params},
            "device_kinds": len({result["device"] for result in results}),
        },
    )
    print(f"sweep: {len(trials)} trials, best accuracy {accuracy.max():.4f} at {best.params}", flush=True)


def held_out(results: list[Result]) -> float:
    """What the best trial scores on images that had no part in choosing it.

    The best of many accuracies on the same images is too high by luck. Here the best trial on one half of the test
    images counts with its accuracy on the other half; the mean of both ways round.
    """
    even = np.array([result["accuracy_even"] for result in results])
    odd = np.array([result["accuracy_odd"] for result in results])
    return float(odd[even.argmax()] + even[odd.argmax()]) / 2


def spread(values: list[float]) -> dict[str, float]:
    """Minimum, median and maximum."""
    return {"min": min(values), "median": float(np.median(values)), "max": max(values)}


if __name__ == "__main__":
    main()
