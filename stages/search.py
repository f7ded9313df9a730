"""A search over normalizations or initial weights: its trials, its table, its metrics."""

from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from stages import outputs, study, trials
from stages.fingerprint import Evaluation
from stages.params import Params, Sweep


def report(name: str, settings: Params, sweep: Sweep, evaluation: type[Evaluation]) -> list[FrozenTrial]:
    """Brings the study to `sweep.n_trials` trials and writes plots/{name}.csv and metrics/{name}.json."""
    done = trials.run(name, settings, sweep, evaluation)
    results = study.results(done)
    rows = [flat(result) for result in results]
    outputs.write_csv(
        Path(f"plots/{name}.csv"),
        ("number", *done[0].params, *rows[0]),
        (
            # Parameters as text: every digit, so that a trial can be evaluated again.
            [trial.number, *map(str, trial.params.values()), *row.values()]
            for trial, row in zip(done, rows, strict=True)
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
            "accuracies": {
                column: spread([result[column] for result in results])
                for column in results[0]
                if column.startswith("accuracy") and not column.endswith(("_even", "_odd", "_own"))
            },
            "device_kinds": len({result["device"] for result in results}),
        },
    )
    print(f"{name}: {len(done)} trials, best accuracy {accuracy.max():.4f} at {best.params}", flush=True)
    return done


def flat(result: dict[str, Any]) -> dict[str, Any]:
    """A result as the columns of a table: mappings within it, by layer, as {layer}_{name}."""
    columns: dict[str, Any] = {}
    for name, value in result.items():
        columns |= {f"{key}_{name}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
    return columns


def held_out(results: list[dict[str, Any]]) -> float:
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
