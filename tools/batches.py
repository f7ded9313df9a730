"""`make batches`: what a sampler learns, by how many trials it proposes at once (`sweep.batch`).

Real proposals, but no training runs: a pair has the accuracy of the nearest trial in plots/trials/sweep.csv, with the
noise of a training run. Twelve studies of 200 trials for each batch, of other seeds.
"""

import math
import statistics
import sys
from pathlib import Path

import numpy as np
import optuna
from scipy.spatial import KDTree

sys.path.insert(0, str(Path(__file__).parents[1]))
from stages.common import tables
from stages.common.errors import run_main
from stages.settings import params
from stages.settings.params import SWEEP
from stages.study import proposals

TRIALS = 200
BATCHES = (1, 2, 4, 8, 16, 32, 64)
SEEDS = range(12)
NOISE = 0.001  # of the accuracy of one training run, about that between seeds
LEARNED = 0.5  # the accuracy above which a trial has learned


def main() -> None:
    settings, rows = params.load(), tables.last_epochs(tables.read(SWEEP))
    sweep, tolerance = settings.sweep, settings.rule.of(SWEEP).tolerance
    known = KDTree([as_seen(float(row["mean"]), float(row["std"])) for row in rows])
    accuracies = tables.numbers(rows, "accuracy")
    print("# How many trials to propose at once\n")
    print(f"`make batches`: {TRIALS} trials of `{sweep.sampler}`, with the accuracies of the nearest real trial.\n")
    print(f"Accuracies from {len(rows)} real trials; mean over {len(SEEDS)} seeds, with the standard error.\n")
    print("| batch | share of trials that learn | share of good ones | best accuracy |\n|---|---|---|---|")
    for batch in BATCHES:
        figures: list[tuple[float, float, float]] = []
        for seed in SEEDS:
            accuracy = simulated(sweep.model_copy(update={"batch": batch, "seed": seed}), known, accuracies)
            good = accuracy >= accuracies.max() - tolerance
            figures.append(((accuracy > LEARNED).mean(), good.mean(), accuracy.max()))
        columns = zip(*figures, strict=True)
        cells = [f"{statistics.mean(each):.4f} ± {statistics.stdev(each) / len(each) ** 0.5:.4f}" for each in columns]
        print(f"| {batch} | {' | '.join(cells)} |", flush=True)


def simulated(sweep: params.Search, known: KDTree, accuracies: np.ndarray) -> np.ndarray:
    """The accuracies of a study's trials, float array (TRIALS,), without the noise that its sampler is told."""
    random = np.random.default_rng(sweep.seed)
    trials: list[optuna.trial.FrozenTrial] = []
    numbers: list[int] = []  # of the nearest real trials
    while len(trials) < TRIALS:
        for pair in proposals.propose(sweep, list(trials), len(trials) // sweep.batch):
            numbers.append(known.query(as_seen(float(pair["mean"]), float(pair["std"])))[1])
            accuracy = accuracies[numbers[-1]]
            trials.append(
                optuna.create_trial(
                    params=pair,
                    distributions=proposals.distributions(sweep.space.axes()),
                    value=accuracy + (random.normal() * NOISE if accuracy > LEARNED else 0),
                )
            )
    return accuracies[numbers[:TRIALS]]


def as_seen(mean: float, std: float) -> tuple[float, float]:
    """A pair as the network sees it: the normalized value of a black pixel, and the scale."""
    return math.asinh(mean / std), math.log(std)


if __name__ == "__main__":
    run_main(main)
