"""What the tables of trials say: points compared over seeds, searches, treated networks."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from stages.common import files, tables
from stages.common.files import Exact
from stages.evidence import words
from stages.evidence.law import law, varied
from stages.evidence.paired import compare, relative_error
from stages.settings.params import Params, Rule

Metrics = dict[str, Any]
FOLDER = Path("metrics/studies")


def path(study: str) -> Path:
    return FOLDER / f"{study}.json"


def read(studies: Iterable[str]) -> dict[str, Metrics]:
    """The metrics of those studies that have any, by name; raises: InputError if a file is damaged"""
    return {study: files.read_json(path(study)) for study in studies if path(study).exists()}


def judge(name: str, settings: Params) -> Metrics:
    """The metrics of a study, and what figures and pages say of it: title, network, training, and the rule applied.

    kind:   seeds, law, search, treatments or photographs
    raises: InputError if its table is damaged; other errors if it is not of such a study, see `files.whole`
    """
    rule, table, study = settings.rule.for_study(name), tables.read(name), settings.studies[name]
    metrics: Metrics = {"rule": rule.model_dump(exclude={"studies"}), "title": study.title}
    metrics |= {"network": words.network(settings, name), "trained": words.trained(table, settings)}
    if study.search:
        space = study.search.space
        axes = {name: axis.model_dump() for name, axis in space.items() if axis.low < axis.high}
        return metrics | {"kind": "search", "axes": axes} | search(table, list(space), rule)
    if study.seeds is not None:
        if varied(table) == {"mean", "lr"}:
            return metrics | {"kind": "law"} | law(table, pixels(), rule)
        digits = settings.data if study.of_lenet else settings.resnet.scratch
        return metrics | {"kind": "seeds", "points": comparison(table, rule, digits.test_images)}
    images = getattr(settings, study.trial.settings).test_images
    if study.has_points:
        return metrics | {"kind": "treatments"} | treatments(table, images, rule)
    return metrics | {"kind": "photographs"} | photographs(table, images)


def pixels() -> dict[str, float]:
    """Mean and std of the pixels of the training images, from 0 to 1."""
    statistics = Path("metrics/statistics.json")
    with files.whole(statistics):
        return {name: float(files.read_json(statistics)["train"][name]) for name in ("mean", "std")}


def ends(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """How the trials at each point ended, by seed."""
    return dict(list(tables.last_epochs(table).set_index("seed").groupby("point", sort=False)))


def comparison(table: pd.DataFrame, rule: Rule, images: int) -> Metrics:
    """The metrics of points over seeds, of the end of each trial, by the name of the point.

    images: on which accuracies are measured, if not on `held_out` ones

    parameters, n (seeds), learned (how many of them)
    accuracy, loss: over the seeds that learned
    difference:     of accuracies from the reference's, seed by seed. Only where all seeds of both learned: a mean over
                    trials that learned and trials that did not says nothing
    mixed_pairs:    how many of the pairs ran on two kinds of device
    """
    ended, first = ends(table), table.drop_duplicates("point")
    parameters = dict(zip(first["point"], tables.parameters(first), strict=True))
    metrics: Metrics = {}
    for point, trials in ended.items():
        learned = trials[trials["accuracy"] > rule.threshold]
        metrics[point] = {"parameters": parameters[point], "n": len(trials), "learned": len(learned)}
        if len(learned):
            outcomes = learned[["accuracy", "loss"]]
            over_seeds = outcomes.agg(["mean", "std", "min", "max"], skipna=False)  # a loss is nan if one diverged
            metrics[point] |= {outcome: {"n": len(learned), **over_seeds[outcome]} for outcome in outcomes}
    comparable = {point: ended[point] for point, each in metrics.items() if each["learned"] == each["n"]}
    if (reference := comparable.pop(rule.reference, None)) is None:
        return metrics
    held_out = parameters[rule.reference].get("held_out")
    pairs = {
        point: trials.align(reference, join="inner", axis=0)
        for point, trials in comparable.items()
        if parameters[point].get("held_out") == held_out and trials.index.isin(reference.index).any()
    }
    accuracies = {name: [of["accuracy"].to_numpy() for of in pair] for name, pair in pairs.items()}
    compared = compare(accuracies, rule.confidence, len(metrics) - 1, rule.margin, 1 / (held_out or images))
    for point, (own, other) in pairs.items():
        metrics[point]["difference"] = compared[point]
        if mixed := int((own["device"] != other["device"]).sum()):
            metrics[point]["mixed_pairs"] = mixed
    return metrics


def point_table(points: Mapping[str, Any], settings: Params) -> pd.DataFrame:
    """Points over seeds, a row for each: names of point and normalization, parameters, metrics, as `accuracy_mean`."""
    table = pd.json_normalize([{"name": name} | each["parameters"] | each for name, each in points.items()], sep="_")
    lacking = ["lr", "accuracy_mean", "accuracy_min", "accuracy_max", "difference_mean"]
    table = table.reindex(columns=table.columns.union(lacking, sort=False))
    named = {tuple(norm.parameters().values()): name for name, norm in reversed(settings.normalizations.items())}
    pairs = zip(table["mean"], table["std"], strict=True)
    table["normalization"] = [named.get(pair, "mean {:g}, std {:g}".format(*pair)) for pair in pairs]
    return table


def search(table: pd.DataFrame, axes: Sequence[str], rule: Rule) -> Metrics:
    """The metrics of a search over `axes`.

    best:       the trial with the best accuracy, biased upwards: chosen on the images that measure it.
                cross_half_accuracy: chosen on one half, measured on the other; the mean of both ways
    good:       trials whose accuracy is at most the rule's tolerance below the best
    accuracies: of the trials that learned, of each kind
    """
    trials = tables.last_epochs(table).set_index("trial")
    accuracy, even, odd = trials["accuracy"], trials["accuracy_even"], trials["accuracy_odd"]
    number = accuracy.idxmax()
    learned = trials[accuracy > rule.threshold]
    good = trials[accuracy >= accuracy.max() - rule.tolerance]
    accuracies = learned.filter(regex="^accuracy(?!_even|_odd|_own)")
    spread = ["min", "median", "max"]
    crossed = (odd[even.idxmax()] + even[odd.idxmax()]) / 2
    best = {"number": int(number), "accuracy": accuracy.max(), "cross_half_accuracy": crossed}
    return {
        "best": best | {axis: Exact(trials[axis][number]) for axis in axes},
        "completed": len(trials),
        "learned": len(learned),
        "good": {"count": len(good)} | good[[*axes]].agg(spread).to_dict(),
        "accuracies": accuracies.agg(spread).to_dict() if len(learned) else {},
    }


def treatments(table: pd.DataFrame, images: int, rule: Rule) -> Metrics:
    """The metrics of a trained network, by normalization and treatment; images: that accuracies are measured on"""
    metrics: Metrics = {}
    for row, norm in zip(table.to_dict("records"), tables.parameters(table), strict=True):
        del norm["treated"]
        of_point = metrics[row["point"]] = {"normalization": norm}
        right = round(images * row["accuracy_own"])
        for treatment in words.TREATMENTS:
            suffix = "" if treatment == "as_is" else f"_{treatment}"
            if (accuracy := row.get(f"accuracy{suffix}")) is not None:
                lost, gained = row[f"lost{suffix}"], row[f"gained{suffix}"]
                # Whether each image is right: lost ones, those that are right before and after, gained ones, the rest.
                counts = lost, right - lost, gained, images - right - gained
                before, after = np.repeat([[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0]], counts, axis=1)
                difference = change(lost, gained, images, rule.confidence)
                difference |= relative_error(after, before, rule.confidence, 0.0)
                of_point[treatment] = {"accuracy": accuracy, "difference": difference}
        of_point |= {name: row[name] for name in ("folded_difference", "folded_other") if row.get(name) is not None}
    return {"images": images, "normalizations": metrics}


def change(lost: int, gained: int, images: int, confidence: float) -> Metrics:
    """The change of accuracy on the same images, paired by image.

    lost, gained: images that are right before alone, and after alone
    interval:     of Bonett and Price (2012), which holds its confidence where few images change
    p_different:  of McNemar's exact test that lost and gained are equally likely
    """
    test = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    # As if one image more had changed each way: with no change at all, the interval has a width all the same.
    total = images + 2
    middle, changed = (gained - lost) / total, (gained + lost + 2) / total
    half = stats.norm.ppf((1 + confidence) / 2) * math.sqrt((changed - middle**2) / total)
    return {
        "lost": lost,
        "gained": gained,
        "mean": (gained - lost) / images,
        "interval": {"low": max(-1.0, middle - half), "high": min(1.0, middle + half)},
        "p_different": test,
    }


def photographs(table: pd.DataFrame, images: int) -> Metrics:
    """The metrics of a network under its own normalization, and of the pixels of its images, by channel."""
    (row,), kinds = table.to_dict("records"), ("mean", "std", "image_std", "own_mean", "own_std")
    channels = {color: {kind: row[f"{kind}_{color[0]}"] for kind in kinds} for color in ("red", "green", "blue")}
    return {"accuracy": row["accuracy"], "loss": row["loss"], "images": images, "channels": channels}
