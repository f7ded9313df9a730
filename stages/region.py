"""Stage `region`: where training fails, over seeds, and what falls silent there."""

from pathlib import Path

import numpy as np

from stages.common import files
from stages.evidence import boundary_figure, figures, tables
from stages.evidence.boundary import Pixels, Trials, agreement, average, by_init, describe, fit_seeds, slope
from stages.settings.params import Params

DPI = 150


def main(settings: Params) -> None:
    threshold = settings.region.threshold
    train = files.read_json(Path("metrics/statistics.json"))["train"]
    pixels = Pixels(train["mean"], train["std"])
    trials = Trials.of([*tables.read_compared("boundary"), *tables.read_compared("boundary_wide")], threshold)
    full = Trials.of(tables.read_compared("boundary_full"), threshold)
    rows = tables.read(Path("plots/sweep.csv"))
    sweep = Trials.of(rows, threshold)
    silent = {column: tables.numbers(rows, column) for column in rows[0] if "_silent_" in column}

    rules = fit_seeds(trials, pixels)
    rule = average(rules.values()) if rules else None
    of_sweep = {
        "trials": len(sweep.dead),
        "dead": int(sweep.dead.sum()),
        "learned": int((~sweep.dead).sum()),
        "slope": slope(sweep, rule, pixels),
        "silent": {
            kind: {name: np.median(shares[which]) if which.any() else None for name, shares in silent.items()}
            for kind, which in (("learned", ~sweep.dead), ("died", sweep.dead))
        },
    }
    metrics = describe(trials, rules, pixels, settings.rule.confidence)
    metrics |= {"full_size": agreement(trials, full), "sweep": of_sweep}
    metrics["init"] = by_init(tables.read_compared("init"), pixels, threshold, settings.rule.confidence)
    files.write_json(Path("metrics/region.json"), metrics)

    columns = {"number": np.arange(len(rows)), "mean": sweep.mean, "std": sweep.std}
    columns |= {"input_mean": (pixels.mean - sweep.mean) / sweep.std, "input_std": pixels.std / sweep.std}
    columns |= {"accuracy": sweep.accuracy, "learned": ~sweep.dead * 1} | silent
    table = zip(*(values.tolist() for values in columns.values()), strict=True)
    files.write_csv(Path("plots/region.csv"), list(columns), table)
    figure = boundary_figure.draw(trials, rules, sweep, pixels, settings.sweep.space, settings.normalizations)
    figures.save(figure, Path("plots/region.png"), DPI)
    print(f"region: {trials.dead.sum()} of {len(trials.dead)} trials at the boundary died")
