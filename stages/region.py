"""Stage `region`: which part of the (mean, std) plane trains, what separates it from the rest, and how flat it is."""

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from stages import drawing, outputs, params, separation
from stages.params import Region, Space

TRIALS = Path("plots/sweep.csv")
BOOTSTRAPS = 1000
SIMULATIONS = 20_000  # of what luck alone does
CELLS = (1000, 100)  # of the plane, along mean and std: areas are right to 0.001
DPI = 150
AXES = {
    "relative_offset": "|pixel mean - mean| / pixel std: offset in units of the contrast",
    "offset": "|m'|: mean of the normalized pixels, without its sign",
    "contrast": "s': standard deviation of the normalized pixels",
    "root_mean_square": "root mean square of the normalized pixels",
    "largest_input": "largest normalized pixel, without its sign",
    "adjusted_offset": "offset in units of the contrast, adjusted for std and side",
}


class Trials(NamedTuple):
    """Arrays (n,), an element for each trial."""

    number: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    accuracy: np.ndarray


class Runs(NamedTuple):
    """Accuracy of n trainings that differ in their seed alone; std with ddof 1, None for a single one."""

    mean: float
    std: float | None
    n: int


def main() -> None:
    settings = params.load()
    trials, standard = read_trials(TRIALS), read_standard(Path("metrics/replicates.json"))
    pixels = json.loads(Path("metrics/statistics.json").read_text())["train"]
    mu, sigma = pixels["mean"], pixels["std"]
    dead = ~(trials.accuracy > settings.region.threshold)
    every = separation.candidates(trials.mean, trials.std, mu, sigma)
    means, stds = plane(settings.sweep.space)
    found = separate(every, dead, settings.region)
    name = found["separating"]["quantity"]
    if name:
        cells = separation.candidates(means.ravel(), stds.ravel(), mu, sigma)[name]
        found["separating"] |= extent(every[name], cells, dead, settings.region.seed)
    found |= {"trials": len(dead), "learned": int((~dead).sum()), "dead": int(dead.sum())}
    on = ~dead & (trials.accuracy >= standard.mean - settings.region.plateau)
    inputs = Trials(trials.number, (mu - trials.mean) / trials.std, sigma / trials.std, trials.accuracy)
    found["plateau"] = plateau(trials, inputs, on)
    found["best"] = best(trials, standard, int(on.sum()), settings.region.seed)
    silent = read_silent(TRIALS)
    found["silent"] = {
        kind: {column: float(np.median(shares[which])) if which.any() else None for column, shares in silent.items()}
        for kind, which in (("learned", ~dead), ("died", dead))
    }
    outputs.write_json(Path("metrics/region.json"), found)

    name = name or next(iter(every))  # where nothing separates, the table and the picture show the first quantity
    weights = separation.fit(every[name], dead).weights if every[name].shape[1] > 1 else np.ones(1)
    values = np.exp(every[name] @ weights)
    columns: tuple[np.ndarray, ...] = (
        trials.number,
        trials.mean,
        trials.std,
        inputs.mean,
        inputs.std,
        values,
        trials.accuracy,
        ~dead * 1,
    )
    columns += tuple(silent.values())
    outputs.write_csv(
        Path("plots/region.csv"),
        ("number", "mean", "std", "input_mean", "input_std", name, "accuracy", "learned", *silent),
        zip(*(column.tolist() for column in columns), strict=True),
    )
    shape = np.exp(separation.candidates(means.ravel(), stds.ravel(), mu, sigma)[name] @ weights).reshape(means.shape)
    figure = draw(trials, dead, name, values, (means, stds, shape), found["separating"], standard)
    drawing.save(figure, Path("plots/region.png"), DPI)
    print(f"region: {found['learned']} of {len(dead)} trials learned, separated by {found['separating']['quantity']}")


def read_trials(path: Path) -> Trials:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    number = np.array([int(row["number"]) for row in rows])
    return Trials(number, *(np.array([float(row[key]) for row in rows]) for key in Trials._fields[1:]))


def read_silent(path: Path) -> dict[str, np.ndarray]:
    """The shares of silent units that the trials tell: arrays (n,), by layer, before and after the training."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0] if "_silent_" in name}


def read_standard(path: Path) -> Runs:
    """The standard normalization over seeds, as the stage `replicates` left it."""
    accuracy = json.loads(path.read_text())["standard"]["accuracy"]
    return Runs(accuracy["mean"], accuracy["std"], accuracy["n"])


def plane(space: Space) -> tuple[np.ndarray, np.ndarray]:
    """Means and stds at the middle of cells of equal area, arrays CELLS: linear or logarithmic as the search is."""
    axes = []
    for interval, count in zip((space.mean, space.std), CELLS, strict=True):
        part = (np.arange(count) + 0.5) / count
        low, high = np.log([interval.low, interval.high]) if interval.log else (interval.low, interval.high)
        axes.append(np.exp(low + part * (high - low)) if interval.log else low + part * (high - low))
    means, stds = np.meshgrid(*axes, indexing="ij")
    return means, stds


def separate(every: dict[str, np.ndarray], dead: np.ndarray, region: Region) -> dict[str, Any]:
    """Separating power of each quantity, and which one is chosen; None where there are too few trials of a kind.

    The trials are where the sampler put them, most of them where it expected good ones: the errors hold for trials
    like these, and are no shares of the plane. AUC and training error of a quantity are of the trials that it was
    fitted to; nested_error is of trials that had no part in anything, the choice of the quantity included.
    """
    rarer, quantities = int(min(dead.sum(), (~dead).sum())), {}
    for name, columns in every.items():
        quantities[name] = dict.fromkeys(("auc", "threshold", "training_error", "cross_validated_error"))
        if rarer > 0:
            rule = separation.fit(columns, dead)
            quantities[name] |= {
                "auc": separation.auc(columns @ rule.weights, dead),
                "threshold": float(np.exp(rule.threshold)),
                "training_error": float((separation.dies(columns, rule) != dead).mean()),
            }
        if rarer > 1:
            error = separation.cross_validated(columns, dead, region.folds, region.seed)
            quantities[name]["cross_validated_error"] = error
            if columns.shape[1] > 1:
                rules = separation.bootstrap(columns, dead, BOOTSTRAPS, region.seed)
                weights = np.array([drawn.weights for drawn in rules])
                quantities[name] |= {
                    "std_exponent": _interval(rule.weights[1], weights[:, 1]),
                    "side_factor": _interval(np.exp(rule.weights[2]), np.exp(weights[:, 2])),
                }
    chosen = separation.choose(every, dead, region.folds, region.seed) if rarer > 1 else None
    nested = separation.nested_error(every, dead, region.folds, region.seed) if rarer > 3 else None
    return {"quantities": quantities, "separating": {"quantity": chosen, "nested_error": nested}}


def extent(columns: np.ndarray, cells: np.ndarray, dead: np.ndarray, seed: int) -> dict[str, Any]:
    """How far the safe region reaches, as a value of the quantity and as a share of the plane's area.

    columns, cells: the quantity's columns for the trials and for the cells of the plane
    returns: threshold and area, the share of the plane that the rule lets learn, with 95% intervals (bootstrap over
             trials, the quantity as chosen); and the band of doubt: below `low` every trial learned, above `high` every
             one died, in between lie `trials` of both kinds, or none where the separation is perfect
    """
    rule, rules = separation.fit(columns, dead), separation.bootstrap(columns, dead, BOOTSTRAPS, seed)
    scores, of_cells = columns @ rule.weights, cells @ rule.weights
    low, high = sorted((scores[dead].min(), scores[~dead].max()))
    areas = np.array([1 - separation.dies(cells, drawn).mean() for drawn in rules])
    return {
        "threshold": _interval(np.exp(rule.threshold), np.exp([drawn.threshold for drawn in rules])),
        "area": _interval((of_cells <= rule.threshold).mean(), areas),
        "band": {
            "low": float(np.exp(low)),
            "high": float(np.exp(high)),
            "area_low": float((of_cells < low).mean()),
            "area_high": float((of_cells <= high).mean()),
            "trials": int(((scores >= low) & (scores <= high)).sum())
            if scores[dead].min() < scores[~dead].max()
            else 0,
        },
    }


def plateau(trials: Trials, inputs: Trials, on: np.ndarray) -> dict[str, Any]:
    """The trials about as accurate as the standard normalization: how many, how much they differ, where they lie.

    Where the plateau ends is measured from the standard's mean over seeds, not from the best trial, which is the best
    partly by luck. Its lower end is cut off by definition, so the spread says little about a single training's.

    inputs: the trials with mean and std of the pixels after normalization in place of the normalization's own
    on:     bool array (n,), the trials on the plateau
    """
    values = {"accuracy": trials.accuracy, "mean": trials.mean, "std": trials.std}
    values |= {"input_mean": inputs.mean, "input_std": inputs.std}
    found: dict[str, Any] = {"trials": int(on.sum())}
    for name, of_all in values.items():
        of = of_all[on]
        found[name] = {"min": of.min(), "median": np.median(of), "max": of.max()} if len(of) else None
    if found["accuracy"]:
        accuracy = trials.accuracy[on]
        found["accuracy"] |= {"iqr": np.ptp(np.quantile(accuracy, [0.25, 0.75]))}
        found["accuracy"] |= {"std": accuracy.std(ddof=1) if len(accuracy) > 1 else None}
    return found


def best(trials: Trials, standard: Runs, equals: int, seed: int) -> dict[str, Any]:
    """The best trial, and whether luck alone would explain it.

    The best of many trainings lies above their mean even if all are equally good. `by_luck` says how far: mean and
    spread are estimated from as many draws of one normal distribution as there were seeds of the standard, and the
    largest of `equals` further draws is measured against them; median and 95% quantile of simulations, and the share
    of them that reach the best trial or more.

    equals:  trials on the plateau: as if these, and no others, were as good as the standard
    returns: above_standard and by_luck in units of the standard's seed-to-seed standard deviation
    """
    number = int(trials.accuracy.argmax())
    found: dict[str, Any] = {
        "number": int(trials.number[number]),
        "mean": float(trials.mean[number]),
        "std": float(trials.std[number]),
        "accuracy": float(trials.accuracy[number]),
        "above_standard": None,
        "by_luck": None,
    }
    if standard.std:
        found["above_standard"] = (found["accuracy"] - standard.mean) / standard.std
    if standard.std and equals:
        random = np.random.default_rng(seed)
        seeds = random.normal(size=(SIMULATIONS, standard.n))
        largest = np.max([random.normal(size=SIMULATIONS) for _ in range(equals)], axis=0)
        above = (largest - seeds.mean(axis=1)) / seeds.std(axis=1, ddof=1)
        found["by_luck"] = {
            "median": float(np.median(above)),
            "high": float(np.quantile(above, 0.95)),
            "share": float((above >= found["above_standard"]).mean()),
        }
    return found


def draw(trials: Trials, dead: np.ndarray, name: str, values: np.ndarray, cells, found: dict, standard: Runs) -> Figure:
    """Left where trials learn and die in the (mean, std) plane, right their accuracy over the separating quantity.

    cells: means, stds and values of the quantity, arrays CELLS
    found: as `separate` and `extent` give it
    """
    figure = Figure(figsize=(13, 5.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    band = found.get("band")
    if band:
        threshold = found["threshold"]["value"]
        doubt = f"in doubt: {band['low']:.3g} to {band['high']:.3g}"
        left.contourf(*cells, levels=[0, threshold], colors=["tab:green"], alpha=0.12)
        left.contourf(*cells, levels=[band["low"], band["high"]], colors=["tab:orange"], alpha=0.3)
        left.contour(*cells, levels=[threshold], colors="black", linewidths=1, linestyles="dashed")
        right.axvspan(band["low"], band["high"], color="tab:orange", alpha=0.3, linewidth=0, label=doubt)
        right.axvline(threshold, color="black", linewidth=1, linestyle="dashed", label=f"threshold {threshold:.3g}")
    # On a logit scale, differences between good trials show beside those that stay at chance.
    accuracy = trials.accuracy.clip(0.01, 0.999)
    right.axhline(min(standard.mean, 0.999), color="red", linewidth=1, label=f"standard: mean of {standard.n} seeds")
    for kind, label, colour, marker in ((~dead, "learned", "tab:blue", "o"), (dead, "died", "tab:gray", "X")):
        look = {"color": colour, "marker": marker, "s": 45, "edgecolors": "white", "linewidths": 0.6, "zorder": 2.5}
        left.scatter(trials.mean[kind], trials.std[kind], label=f"{label} ({kind.sum()})", **look)
        right.scatter(values[kind], accuracy[kind], **look)
    drawing.mark(left, size=90)
    left.set_yscale("log")
    drawing.label(left.yaxis)
    left.set(xlabel="mean (pixels lie in [0, 1])", ylabel="standard deviation", title="Which normalizations train")
    right.set_xscale("log")
    drawing.label(right.xaxis)
    right.set_yscale("logit")
    ticks = [0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995]
    right.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    right.set_yticks([], minor=True)
    right.set_ylim(min(0.07, accuracy.min() / 1.5), max(0.992, (1 + accuracy.max()) / 2))
    right.set(xlabel=AXES[name], ylabel="test accuracy", title="What separates those that train")
    drawing.legend(left, columns=2)
    drawing.legend(right, columns=2)
    return figure


def _interval(value: float, drawn: np.ndarray) -> dict[str, float]:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"value": float(value), "low": float(low), "high": float(high)}


if __name__ == "__main__":
    main()
