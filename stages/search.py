"""A search over normalizations or initial weights: its trials, its table, its metrics."""

from pathlib import Path

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from stages import outputs, study, trials
from stages.evaluation import Result
from stages.params import Params, Sweep

COLUMNS = ("accuracy", "loss", "accuracy_even", "accuracy_odd", "device")


def report(name: str, settings: Params, sweep: Sweep) -> list[FrozenTrial]:
    """Brings the study to `sweep.n_trials` trials and writes plots/{name}.csv and metrics/{name}.json."""
    done = trials.run(name, settings, sweep)
    results = study.results(done)
    silent = [(when, layer) for when in ("silent_before", "silent_after") for layer in results[0]["silent_after"]]
    outputs.write_csv(
        Path(f"plots/{name}.csv"),
        ("number", *done[0].params, *COLUMNS, *(f"{layer}_{when}" for when, layer in silent)),
        (
            [
                trial.number,
                *map(str, trial.params.values()),  # as text: every digit, so that a trial can be evaluated again
                *(result[column] for column in COLUMNS),  # type: ignore[literal-required]
                *(result[when][layer] for when, layer in silent),  # type: ignore[literal-required]
            ]
            for trial, result in zip(done, results, strict=True)
        ),
    )
    accuracy = np.array([result["accuracy"] for result in results])
    best = done[int(accuracy.argmax())]
    good = [done[number] for number in np.flatnonzero(accuracy >= accuracy.max() - sweep.tolerance)]
    outputs.write_json(
        Path(f"metrics/{name}.json"),
        {
            "best": {"number": best.number, "accuracy": accuracy.max(), "held_out": held_out(results), **best.params},
            "completed": sum(trial.state == TrialState.COMPLETE for trial in done),
            "learned": int((accuracy > settings.region.threshold).sum()),
            "good": {"count": len(good)}
            | {name: spread([trial.params[name] for trial in good]) for name in best.params},
            "device_kinds": len({result["device"] for result in results}),
        },
    )
    print(f"{name}: {len(done)} trials, best accuracy {accuracy.max():.4f} at {best.params}", flush=True)
    return done


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
