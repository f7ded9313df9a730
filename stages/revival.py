"""Stage `revival`: trials that died, trained again from the initial function of a network that learns.

A trial dies under PyTorch's initial weights. Are its numbers to blame, or only where they make the training start? Here
the standard network's initial weights are folded into the trial's normalization: at the start, both are the same
function of the pixels (see `folding`), and whatever the numbers do to the training afterwards still happens.
"""

import csv
from pathlib import Path

import numpy as np

from stages import outputs, params, search, study, trials
from stages.evaluation import Evaluation

TRIALS = Path("plots/sweep.csv")
LAYERS = ("conv1", "conv2", "fc1")
SILENT = [f"{layer}_{when}" for when in ("silent_before", "silent_after") for layer in LAYERS]


def main() -> None:
    settings = params.load()
    wanted = settings.revival
    with TRIALS.open(newline="") as file:
        dead = [row for row in csv.DictReader(file) if float(row["accuracy"]) <= settings.region.threshold]
    dead = dead[: wanted.trials]
    points: trials.Points = [
        {"mean": float(row["mean"]), "std": float(row["std"]), "folded_mean": wanted.mean, "folded_std": wanted.std}
        for row in dead
    ]
    revived = study.results(trials.run("revival", settings, points, Evaluation))
    by_default = [{column: float(row[column]) for column in ("accuracy", *SILENT)} for row in dead]
    by_folding = [
        {"accuracy": result["accuracy"]}
        | {f"{layer}_{when}": result[when][layer] for when in ("silent_before", "silent_after") for layer in LAYERS}
        for result in revived
    ]
    rows = [
        (row["number"], row["mean"], row["std"], weights, *(found[column] for column in ("accuracy", *SILENT)))
        for row, pair in zip(dead, zip(by_default, by_folding, strict=True), strict=True)
        for weights, found in zip(("default", "folded"), pair, strict=True)
    ]
    header = ("number", "mean", "std", "initial weights", "accuracy", *SILENT)
    outputs.write_csv(Path("plots/revival.csv"), header, rows)
    accuracy = np.array([found["accuracy"] for found in by_folding])
    outputs.write_json(
        Path("metrics/revival.json"),
        {
            "trials": len(dead),
            "learned": int((accuracy > settings.region.threshold).sum()),
            "accuracy": search.spread(accuracy.tolist()) if dead else None,
            "silent": {"default": medians(by_default), "folded": medians(by_folding)} if dead else None,
        },
    )


def medians(found: list[dict[str, float]]) -> dict[str, float]:
    """Of each share of silent units."""
    return {column.replace("_silent", ""): float(np.median([each[column] for each in found])) for column in SILENT}


if __name__ == "__main__":
    main()
