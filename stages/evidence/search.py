"""A search over normalizations or initial weights: its trials, its table, its metrics."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from stages.common import files
from stages.evidence.tables import spread
from stages.settings import params
from stages.settings.params import Parameters, Params
from stages.study import runner, store
from stages.study.fingerprint import Trial
from stages.study.proposals import Search

NO_SUMMARY = ("_even", "_odd", "_own", "_by_epoch")  # accuracies on half the images, the same in all trials, or lists
NOT_FIXED: Parameters = {}


def run_search(
    name: str, settings: Params, search: params.Search, trial: type[Trial], fixed: Parameters = NOT_FIXED
) -> list[FrozenTrial]:
    """Brings the study to `search.n_trials` trials and writes plots/{name}.csv and metrics/{name}.json.

    fixed: what all trials are told in addition to the parameters that are searched
    """
    trials = runner.run(name, settings, Search(search, fixed), trial)
    points: list[Parameters] = [{axis: trial.params[axis] for axis in search.space.axes()} for trial in trials]
    results = store.results(trials)
    rows = [columns(result) for result in results]
    files.write_csv(
        Path(f"plots/{name}.csv"),
        ("number", *points[0], *rows[0]),
        # Parameters as text: every digit, so that a trial can be repeated.
        (
            (n, *map(str, point.values()), *row.values())
            for n, (point, row) in enumerate(zip(points, rows, strict=True))
        ),
    )
    metrics = summary(points, results, search.tolerance, settings.region.threshold)
    files.write_json(Path(f"metrics/{name}.json"), metrics)
    best = metrics["best"]
    print(f"{name}: {len(trials)} trials, best accuracy {best['accuracy']:.4f}: trial {best['number']}", flush=True)
    return trials


def columns(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result as the columns of a table: a list by epoch as {name}_epoch_1 and so on, where it has several epochs.

    Seconds are left out: they differ from run to run.
    """
    flat: dict[str, Any] = {}
    for name in sorted(result, key=_order):
        value = result[name]
        if isinstance(value, list):
            by_epoch = {f"{name.removesuffix('_by_epoch')}_epoch_{epoch}": each for epoch, each in enumerate(value, 1)}
            flat |= by_epoch if len(value) > 1 else {}
        elif name != "seconds":
            flat[name] = value
    return flat


def summary(
    points: Sequence[Parameters], results: Sequence[Mapping[str, Any]], tolerance: float, threshold: float
) -> dict[str, Any]:
    """The metrics of a search.

    tolerance: trials are good whose accuracy is at most this below the best
    threshold: trials have learned whose accuracy is above this
    """
    accuracy = np.array([result["accuracy"] for result in results])
    best = int(accuracy.argmax())
    good = [points[number] for number in np.flatnonzero(accuracy >= accuracy.max() - tolerance).tolist()]
    accuracies = [name for name in results[0] if name.startswith("accuracy") and not name.endswith(NO_SUMMARY)]
    return {
        "best": {"number": best, "accuracy": accuracy.max(), "held_out": held_out(results), **points[best]},
        "completed": len(results),
        "learned": int((accuracy > threshold).sum()),
        "good": {"count": len(good)} | {axis: _values([point[axis] for point in good]) for axis in points[0]},
        "accuracies": {name: spread([result[name] for result in results]) for name in accuracies},
        "device_kinds": len({result["device"] for result in results}),
    }


def held_out(results: Sequence[Mapping[str, Any]]) -> float:
    """The accuracy of the best trial on images that had no part in choosing it.

    The best of many accuracies on the same images is too high by luck. Here the best trial on one half of the test
    images counts with its accuracy on the other half; the mean of both ways round.
    """
    even, odd = (np.array([result[f"accuracy_{half}"] for result in results]) for half in ("even", "odd"))
    return float(odd[even.argmax()] + even[odd.argmax()]) / 2


def _order(name: str) -> tuple:
    """Accuracies first, then the loss, what was before training and after it, and the device."""
    return name == "device", not name.startswith("accuracy"), not name.startswith("loss"), name.endswith("_after"), name


def _values(values: Sequence[Any]) -> dict[str, float]:
    """The spread of numbers; of choices, how often each was made."""
    return dict(Counter(values)) if isinstance(values[0], str) else spread(values)
