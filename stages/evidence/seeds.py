"""Points compared over seeds: after each epoch in a table, at the end by the rule."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stages.common import files
from stages.evidence.paired import answers, compare
from stages.settings.params import Parameters, Params
from stages.study import runner, store
from stages.study.fingerprint import Trial
from stages.study.proposals import Points

DIFFERENCES = {"accuracy": "difference", "loss": "loss_difference"}  # the comparison of each outcome, in the metrics
COLUMNS = ("seed", "point", "epoch", "accuracy", "loss", "difference")


class Curves(NamedTuple):
    """The results of one point: float arrays (seeds, epochs), nan where a loss is no number."""

    accuracy: np.ndarray
    loss: np.ndarray

    def difference(self, reference: "Curves") -> np.ndarray:
        """Accuracy minus that of the reference with the same seed after the same epoch; nan where it has none."""
        difference = np.full_like(self.accuracy, np.nan)
        seeds, epochs = np.minimum(self.accuracy.shape, reference.accuracy.shape)
        shared = np.s_[:seeds, :epochs]
        difference[shared] = self.accuracy[shared] - reference.accuracy[shared]
        return difference


NOTHING = Curves(np.empty((0, 0)), np.empty((0, 0)))  # the reference where nothing is compared


def compare_over_seeds(
    name: str,
    settings: Params,
    points: Mapping[str, Parameters],
    seeds: Mapping[str, int],
    trial: type[Trial],
    reference: str | None = "standard",
) -> None:
    """Runs a trial at each point with each seed, and writes

    metrics/{name}.json: of each point its parameters, how many seeds learned, accuracy and loss over the seeds, and
                         their means after each epoch; of all but the reference the comparison with it, seed by seed,
                         by the rule
    plots/{name}.csv:    a row for each trial and epoch, with the difference from the reference at the same seed

    A seed gives every point the same initial weights, order and dropout.

    points:    what the trials are told, by the name of the point; `seed` is the first one
    seeds:     of each point, how many follow each other
    reference: a point with all seeds; None if nothing is compared
    """
    names, count = sorted(points, key=lambda point: point != reference), max(seeds.values())
    plan = [(point, index) for index in range(count) for point in names if index < seeds[point]]
    told = [points[point] | {"seed": int(points[point]["seed"]) + index} for point, index in plan]
    results = store.results(runner.run(name, settings, Points(told), trial))
    of: dict[str, list] = {point: [] for point in names}
    for (point, _), result in zip(plan, results, strict=True):
        of[point].append(result)
    curves = {point: read_curves(results) for point, results in of.items()}
    files.write_csv(Path(f"plots/{name}.csv"), COLUMNS, rows(points, curves, reference))
    files.write_json(Path(f"metrics/{name}.json"), summary(points, curves, reference, settings) | {"seeds": count})


def read_curves(results: Sequence[Mapping[str, Any]]) -> Curves:
    """The curves of a point from its results, one for each seed; a single epoch where they do not tell of more."""
    of = [[result.get(f"{name}_by_epoch") or [result[name]] for result in results] for name in Curves._fields]
    return Curves(*(np.array(values, float) for values in of))


def rows(points: Mapping[str, Parameters], curves: Mapping[str, Curves], reference: str | None) -> Iterator[tuple]:
    """The lines of the table: seed by seed, in each the points, of each the epochs."""
    for index in range(max(len(curve.accuracy) for curve in curves.values())):
        for point, curve in curves.items():
            if index >= len(curve.accuracy):
                continue
            difference = curve.difference(curves[reference] if reference else NOTHING)
            epochs = curve.accuracy.shape[1]
            # A result of the last epoch alone is of that epoch, where the parameters tell which it was.
            numbers = range(1, epochs + 1) if epochs > 1 else [points[point].get("epochs", "")]
            for epoch, *values in zip(
                numbers, curve.accuracy[index], curve.loss[index], difference[index], strict=True
            ):
                yield int(points[point]["seed"]) + index, point, epoch, *values


def summary(
    points: Mapping[str, Parameters], curves: Mapping[str, Curves], reference: str | None, settings: Params
) -> dict[str, dict[str, Any]]:
    """The metrics of each point, by name. What is compared is the end of the trials: accuracy, and loss as a declared
    second outcome, which has no margin. The planned comparisons are those of all other points with the reference."""
    metrics: dict[str, dict[str, Any]] = {}
    for point, curve in curves.items():
        accuracy, loss = curve.accuracy[:, -1], curve.loss[:, -1]
        learned = int((accuracy > settings.region.threshold).sum())
        metrics[point] = {"parameters": points[point], "learned": learned}
        metrics[point] |= {"accuracy": over_seeds(accuracy), "loss": over_seeds(loss)}
        if curve.accuracy.shape[1] > 1:
            metrics[point]["by_epoch"] = means_by_epoch(curve, curves[reference] if reference else NOTHING)
    if reference:
        rule = settings.rule
        for outcome, margin in (("accuracy", rule.margin), ("loss", math.nan)):
            ends = {point: getattr(curve, outcome)[:, -1] for point, curve in curves.items()}
            standard = ends.pop(reference)
            compared = {
                point: compare(end, standard[: len(end)], rule.confidence, margin)
                for point, end in ends.items()
                if np.isfinite(end - standard[: len(end)]).all()  # a training run that diverged has no loss
            }
            for point, each in answers(compared, rule.confidence).items():
                metrics[point][DIFFERENCES[outcome]] = each
    return metrics


def over_seeds(values: np.ndarray) -> dict[str, float | None]:
    """values: one for each seed; std: with n - 1 in the denominator"""
    n = len(values)
    std = float(values.std(ddof=1)) if n > 1 else None
    return {"n": n, "mean": float(values.mean()), "std": std, "min": float(values.min()), "max": float(values.max())}


def means_by_epoch(curve: Curves, reference: Curves) -> dict[int, dict[str, float]]:
    """Accuracy and its difference from the reference, each the mean over the seeds, by the number of the epoch."""
    means = zip(curve.accuracy.mean(axis=0), curve.difference(reference).mean(axis=0), strict=True)
    return {epoch: {"accuracy": mean, "difference": difference} for epoch, (mean, difference) in enumerate(means, 1)}
