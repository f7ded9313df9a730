"""A trained network under other normalizations and treatments, each compared with its own on the same images."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from stages.common import files
from stages.settings.params import Norm, Params
from stages.study import runner, store
from stages.study.fingerprint import Trial
from stages.study.proposals import Points

COLUMNS = ("normalization", "treatment", "accuracy", "lost", "gained")


def compare_treatments(
    name: str, settings: Params, norms: Mapping[str, Norm], trial: type[Trial], treatments: Sequence[str], images: int
) -> None:
    """Runs a trial under each normalization and writes

    metrics/{name}.json: of each normalization, by treatment the accuracy and how it compares with the network's own
    plots/{name}.csv:    a row for each of them

    norms:      by name; the one named `own` is the network's
    treatments: those that are tried, in the order of `treatments.TREATMENTS`
    images:     that each accuracy is measured on
    """
    points = Points([norm.parameters() | {"treated": len(treatments)} for norm in norms.values()])
    results = dict(zip(norms, store.results(runner.run(name, settings, points, trial)), strict=True))
    metrics: dict[str, Any] = {}
    rows = []
    for norm, result in results.items():
        metrics[norm] = {"normalization": norms[norm].parameters()}
        for treatment in treatments:
            suffix = "" if treatment == "as_is" else f"_{treatment}"
            lost, gained = result[f"lost{suffix}"], result[f"gained{suffix}"]
            accuracy = result[f"accuracy{suffix}"]
            difference = change(lost, gained, images, settings.rule.confidence)
            metrics[norm][treatment] = {"accuracy": accuracy, "difference": difference}
            rows.append((norm, treatment, accuracy, lost, gained))
        folded = {key: result[key] for key in ("folded_difference", "folded_other") if key in result}
        metrics[norm] |= folded
    files.write_csv(Path(f"plots/{name}.csv"), COLUMNS, rows)
    files.write_json(Path(f"metrics/{name}.json"), {"images": images, "normalizations": metrics})
    own = next(iter(results.values()))["accuracy_own"]
    worst = min(metrics, key=lambda norm: metrics[norm]["as_is"]["accuracy"])
    print(f"{name}: accuracy {own:.4f} under its own, {metrics[worst]['as_is']['accuracy']:.4f} under {worst}")


def change(lost: int, gained: int, images: int, confidence: float) -> dict[str, Any]:
    """The change of accuracy on the same images, paired by image.

    lost, gained: images that are right before alone, and after alone
    returns:      both; mean, (gained - lost) / images; interval, of Bonett and Price (2012), which holds its confidence
                  where few images change; p_different, of McNemar's exact test that lost and gained are equally likely
    """
    test = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    # As if one image more had changed each way: with no change at all, the interval has a width all the same.
    share_lost, share_gained, total = (lost + 1) / (images + 2), (gained + 1) / (images + 2), images + 2
    middle = share_gained - share_lost
    half = stats.norm.ppf((1 + confidence) / 2) * math.sqrt((share_gained + share_lost - middle**2) / total)
    return {
        "lost": lost,
        "gained": gained,
        "mean": (gained - lost) / images,
        "interval": {"low": max(-1.0, middle - half), "high": min(1.0, middle + half)},
        "p_different": float(test),
    }
