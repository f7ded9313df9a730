"""Normalizations compared over seeds: what the stages `replicates` and `longer` share."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stages import outputs, study, trials
from stages.comparison import compare
from stages.fingerprint import Evaluation
from stages.params import Params, Replicates


def report(
    name: str,
    settings: Params,
    normalizations: Mapping[str, dict[str, float]],
    seeds: range,
    evaluation: type[Evaluation],
) -> None:
    """Trains under each normalization with each seed, and writes

    metrics/{name}.json: of each normalization, accuracy and loss over the seeds; of all but `standard`, the comparison
                         with it, seed by seed, by the rule of `replicates`
    plots/{name}.csv:    each training, with its difference from `standard` at the same seed

    A seed gives every normalization the same initial weights, order and dropout.

    normalizations: parameters of the trainings, by name; one is called standard
    """
    names = sorted(normalizations, key=lambda name: name != "standard")
    points: trials.Points = [{**normalizations[name], "seed": seed} for seed in seeds for name in names]
    done = trials.run(name, settings, points, evaluation)
    results = np.array(study.results(done)).reshape(len(seeds), len(names))
    accuracy, loss = (
        np.array([[result[key] for result in row] for row in results], float) for key in ("accuracy", "loss")
    )
    outputs.write_csv(
        Path(f"plots/{name}.csv"),
        ("seed", "normalization", "accuracy", "loss", "difference"),
        (
            (seed, norm, accuracy[row, column], loss[row, column], accuracy[row, column] - accuracy[row, 0])
            for row, seed in enumerate(seeds)
            for column, norm in enumerate(names)
        ),
    )
    outputs.write_json(
        Path(f"metrics/{name}.json"),
        {
            norm: {
                "normalization": normalizations[norm],
                "accuracy": over_seeds(accuracy[:, column]),
                "loss": over_seeds(loss[:, column]),
            }
            | (against(accuracy[:, column], accuracy[:, 0], settings.replicates) if column else {})
            for column, norm in enumerate(names)
        }
        | {"seeds": len(seeds)},
    )


def over_seeds(values: np.ndarray) -> dict[str, float | None]:
    """values: one for each seed; std: with n - 1 in the denominator"""
    n = len(values)
    return {
        "n": n,
        "mean": float(values.mean()),
        "std": float(values.std(ddof=1)) if n > 1 else None,
        "min": float(values.min()),
        "max": float(values.max()),
    }


def against(accuracies: np.ndarray, reference: np.ndarray, rule: Replicates) -> dict[str, dict]:
    compared = compare(accuracies, reference, rule.margin, rule.confidence)
    return {"difference": compared | {"margin": rule.margin, "confidence": rule.confidence}}
