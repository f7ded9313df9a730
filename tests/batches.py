"""`make batches`: what a sampler learns, by how many trials it proposes at once (`sweep.batch`).

Real proposals, but no training: a pair has the accuracy of the nearest trial in plots/sweep.csv, with the noise of a
training. Twelve studies of 200 trials for each batch, of other seeds.
"""

import csv
import math
import statistics
import sys
from pathlib import Path

import numpy as np
import optuna
from scipy.spatial import KDTree

sys.path.insert(0, str(Path(__file__).parents[1]))
from stages import params, study

BATCHES = (1, 2, 4, 8, 16, 32, 64)
SEEDS = range(12)
NOISE = 0.001  # of the accuracy of one training, about that between seeds


def main() -> None:
    sweep = params.load().sweep.model_copy(update={"n_trials": 200})
    rows = list(csv.DictReader(Path("plots/sweep.csv").read_text().splitlines()))
    known = KDTree([place(float(row["mean"]), float(row["std"])) for row in rows])
    accuracies = [float(row["accuracy"]) for row in rows]
    top = max(accuracies) - sweep.tolerance
    print("# How many trials to propose at once\n")
    print(f"`make batches`: {sweep.n_trials} trials of `tpe`, with the accuracies of the nearest real trial.\n")
    print(f"Accuracies from {len(rows)} real trials; mean over {len(SEEDS)} seeds, with the standard error.\n")
    print("| batch | share of trials that learn | share of good ones | best accuracy |\n|---|---|---|---|")
    for batch in BATCHES:
        found: list[tuple[float, float, float]] = []
        for seed in SEEDS:
            random = np.random.default_rng(seed)
            settings = sweep.model_copy(update={"batch": batch, "seed": seed})
            trials: list[optuna.trial.FrozenTrial] = []
            while len(trials) < sweep.n_trials:
                for pair in study.propose(settings, trials[: len(trials)], len(trials) // batch):
                    accuracy = accuracies[known.query(place(pair["mean"], pair["std"]))[1]]
                    trial = optuna.create_trial(
                        params=pair,
                        distributions=study.distributions(sweep.space.intervals()),
                        value=accuracy + (random.normal() * NOISE if accuracy > 0.5 else 0),
                        user_attrs={"accuracy": accuracy},
                    )
                    trials.append(trial)
            real = np.array([trial.user_attrs["accuracy"] for trial in trials[: sweep.n_trials]])
            found.append(((real > 0.5).mean(), (real >= top).mean(), real.max()))
        columns = zip(*found, strict=True)
        cells = [f"{statistics.mean(each):.4f} ± {statistics.stdev(each) / len(each) ** 0.5:.4f}" for each in columns]
        print(f"| {batch} | {' | '.join(cells)} |", flush=True)


def place(mean: float, std: float) -> tuple[float, float]:
    """Where a pair lies as the network sees it: the normalized value of a black pixel, and the scale."""
    return math.asinh(mean / std), math.log(std)


if __name__ == "__main__":
    main()
