"""Stage `region`: which part of the (mean, std) plane trains, what separates it from the rest, and how flat it is."""

from pathlib import Path

import numpy as np

from stages.common import files
from stages.evidence import boundary_figure, figures, tables
from stages.evidence.boundary import Boundary, Pixels, extent, plane, separate
from stages.evidence.plateau import OverSeeds, Trials, describe
from stages.settings.params import Params

DPI = 150


def main(settings: Params) -> None:
    space, seed = settings.sweep.space, settings.region.seed
    trials = Trials.of(tables.read(Path("plots/sweep.csv")), settings.region.threshold)
    train = files.read_json(Path("metrics/statistics.json"))["train"]
    pixels = Pixels(train["mean"], train["std"])
    accuracy = files.read_json(Path("metrics/one_epoch.json"))["standard"]["accuracy"]
    standard = OverSeeds(accuracy["mean"], accuracy["std"], accuracy["n"])

    metrics = separate(trials.points, trials.dead, pixels, settings.region)
    separating = metrics["separating"]
    # Where nothing separates, the table and the picture show the first quantity.
    quantity = separating["quantity"] or next(iter(metrics["quantities"]))
    boundary = Boundary(pixels, quantity).fit(trials.points, trials.dead)
    cells = plane(space)
    if separating["quantity"]:
        separating |= extent(boundary, trials.points, trials.dead, cells.reshape(-1, 2), seed)
    files.write_json(Path("metrics/region.json"), metrics | describe(trials, pixels, standard, settings.region))

    columns = {"number": trials.number} | trials.places(pixels) | {quantity: np.exp(boundary.scores(trials.points))}
    columns |= {"accuracy": trials.accuracy, "learned": ~trials.dead * 1} | trials.silent
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    files.write_csv(Path("plots/region.csv"), list(columns), rows)
    figure = boundary_figure.draw(trials, boundary, separating, cells, standard, space, settings.normalizations)
    figures.save(figure, Path("plots/region.png"), DPI)
    print(f"region: {(~trials.dead).sum()} of {len(trials.dead)} trials learned, separated by {separating['quantity']}")
