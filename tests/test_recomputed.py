"""Every statistic in metrics/studies again from the tables, by csv, math and scipy, never through stages/evidence."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from statistics import fmean as mean
from statistics import median
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import ROOT
from scipy import stats

PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
PIXELS = json.loads((ROOT / "metrics/statistics.json").read_text())["train"]
METRICS = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "metrics/studies").glob("*.json"))}
STUDIES = {"sweep": {"search": PARAMS["sweep"]}} | PARAMS["studies"]
CLOSE: dict[str, Any] = {"rel": 2e-5, "abs": 2e-6}  # the tables have six digits

Row = dict[str, str]


def kind(name: str) -> str:
    study, metrics = STUDIES[name], METRICS[name]
    for key in ("search", "sweep_trials"):
        if key in study:
            return key
    if "seeds" in study:
        return "law" if "offsets" in metrics else "points"
    return "treatments" if "normalizations" in study else "photographs"


def of_kind(*kinds: str) -> list[str]:
    return [name for name in METRICS if kind(name) in kinds]


def rows_of(name: str) -> list[Row]:
    with (ROOT / f"plots/trials/{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def ends_of(name: str) -> list[Row]:
    return list({row["trial"]: row for row in rows_of(name)}.values())


def rule(name: str) -> dict[str, Any]:
    return PARAMS["rule"] | PARAMS["rule"]["studies"].get(name, {})


def stdev(values: Sequence[float] | np.ndarray) -> float:
    center = mean(values)
    return math.sqrt(sum((value - center) ** 2 for value in values) / (len(values) - 1))


def spread(values: list[float]) -> Any:
    return pytest.approx({"min": min(values), "median": median(values), "max": max(values)}, **CLOSE)


@pytest.mark.parametrize("name", of_kind("points"))
def test_points_over_seeds(name: str) -> None:
    trials: dict[str, dict[str, list[Row]]] = {}  # by point and seed: the rows of its epochs
    for row in rows_of(name):
        trials.setdefault(row["point"], {}).setdefault(row["seed"], []).append(row)
    metrics, own = METRICS[name], rule(name)
    learn = {
        point: [epochs for epochs in of.values() if float(epochs[-1]["accuracy"]) > own["threshold"]]
        for point, of in trials.items()
    }
    comparable = {point for point, of in trials.items() if len(learn[point]) == len(of)}
    assert metrics.keys() == trials.keys()
    for point, of in metrics.items():
        assert (of["n"], of["learned"]) == (len(trials[point]), len(learn[point]))
        compared = point != own["reference"] and {point, own["reference"]} <= comparable
        assert ("difference" in of) == compared
        for outcome in ("accuracy", "loss"):
            assert (outcome in of) == bool(learn[point])
            if learn[point]:
                check_seeds(of[outcome], [float(epochs[-1][outcome] or "nan") for epochs in learn[point]])
        for epoch, of_epoch in of.get("by_epoch", {}).items():
            reached = [float(epochs[int(epoch) - 1]["accuracy"]) for epochs in learn[point]]
            assert of_epoch["accuracy"] == (pytest.approx(mean(reached)) if min(reached) > own["threshold"] else None)
    reference = trials.get(own["reference"], {})
    for outcome, key in (("accuracy", "difference"), ("loss", "loss_difference")):
        p: dict[str, float] = {}
        for point, of in metrics.items():
            if key in of:
                pairs = [(epochs[-1], reference[seed][-1]) for seed, epochs in trials[point].items()]
                values = np.array([[float(row[outcome]) for row in pair] for pair in pairs])
                p |= check_difference(point, of[key], values, own["confidence"], outcome)
        order = sorted(p, key=lambda point: p[point])
        for step, point in enumerate(order):  # Holm: the smallest p has the strictest level; after a failure all fail
            family = len(metrics) - 1  # also those that could not be compared
            levels = [(1 - own["confidence"]) / (family - at) for at in range(step + 1)]
            found = all(p[each] < level for each, level in zip(order, levels, strict=False))
            assert metrics[point][key]["differs"] == ("yes" if found else "no")


def check_seeds(found: Mapping[str, Any], values: list[float]) -> None:
    center = None if any(map(math.isnan, values)) else mean(values)  # a training run that diverged has no loss
    assert found["mean"] == (center if center is None else pytest.approx(center, **CLOSE))
    if center is not None:
        std = pytest.approx(stdev(values), **CLOSE) if len(values) > 1 else None
        assert found == {"n": len(values), "mean": found["mean"], "std": std} | {
            end: pytest.approx(of(values), **CLOSE) for end, of in (("min", min), ("max", max))
        }


def check_difference(
    point: str, found: Mapping[str, Any], pairs: np.ndarray, confidence: float, outcome: str
) -> dict[str, float]:
    """Checks a difference; returns its p by the name of the point, unless it is that of a single pair."""
    assert found["n"] == len(pairs)
    assert found["mean"] == pytest.approx((pairs[:, 0] - pairs[:, 1]).mean(), abs=2e-6)
    if outcome == "accuracy":
        own, other = (1 - pairs).T
        assert found["relative_error"]["mean"] == pytest.approx(own.sum() / other.sum() - 1, **CLOSE)
        check_delta(own, other, confidence, found["relative_error"]["interval"])
    if len(pairs) == 1:
        return {}
    test = stats.ttest_rel(*pairs.T)
    # The table has six digits: enough for accuracies, which are counts, not for the p of losses; nor for their
    # interval, which for three seeds reaches two and a half standard deviations to each side.
    of_interval, of_p = {"accuracy": (2e-6, 2e-6), "loss": (5e-6, 5e-4)}[outcome]
    low, high = test.confidence_interval(confidence)
    assert found["interval"] == pytest.approx({"low": low, "high": high}, abs=of_interval)
    assert found["p"]["differs"] == pytest.approx(test.pvalue, abs=of_p)
    return {point: test.pvalue}


def check_delta(
    own: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray, confidence: float, interval: Any
) -> None:
    """Delta method for a ratio of means, by variances and the covariance."""
    n = len(own)
    if n == 1:
        assert interval is None
        return
    ratio, level = mean(own) / mean(other), mean(other)
    both = sum((a - ratio * level) * (b - level) for a, b in zip(own, other, strict=True)) / (n - 1)
    variance = (stdev(own) ** 2 - 2 * ratio * both + ratio**2 * stdev(other) ** 2) / n / level**2
    reach = stats.t.ppf((1 + confidence) / 2, n - 1) * math.sqrt(max(0, variance))
    expected = {"low": ratio - 1 - reach, "high": ratio - 1 + reach}
    assert interval == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", of_kind("search"))
def test_searches(name: str) -> None:
    rows, metrics = ends_of(name), METRICS[name]
    accuracy = [float(row["accuracy"]) for row in rows]
    best = max(range(len(rows)), key=lambda number: accuracy[number])
    assert (metrics["completed"], metrics["best"]["number"]) == (len(rows), best)
    assert metrics["best"]["accuracy"] == accuracy[best]
    learned = [row for row, reached in zip(rows, accuracy, strict=True) if reached > rule(name)["threshold"]]
    assert metrics["learned"] == len(learned)
    halves = [[float(row[f"accuracy_{half}"]) for row in rows] for half in ("even", "odd")]
    crossed = [other[one.index(max(one))] for one, other in (halves, halves[::-1])]
    assert metrics["best"]["cross_half_accuracy"] == pytest.approx(mean(crossed), **CLOSE)
    good = [
        row for row, reached in zip(rows, accuracy, strict=True) if reached >= max(accuracy) - rule(name)["tolerance"]
    ]
    assert metrics["good"]["count"] == len(good)
    for axis in metrics["good"].keys() - {"count"}:
        assert metrics["good"][axis] == spread([float(row[axis]) for row in good])
    for outcome, of in metrics["accuracies"].items():
        assert of == spread([float(row[outcome]) for row in learned])


@pytest.mark.parametrize("name", of_kind("sweep_trials"))
def test_trials_of_the_sweep_again(name: str) -> None:
    rows, metrics, sweep = ends_of(name), METRICS[name], ends_of("sweep")
    learned = [float(row["accuracy"]) for row in rows if float(row["accuracy"]) > rule(name)["threshold"]]
    k, n, tail = len(learned), len(rows), (1 - rule(name)["confidence"]) / 2
    assert (metrics["learned"], metrics["evaluations"]) == (k, n)
    low, high = stats.beta.ppf(tail, k, n - k + 1) if k else 0, stats.beta.ppf(1 - tail, k + 1, n - k) if k < n else 1
    assert metrics["share"] == pytest.approx({"low": low, "high": high}, **CLOSE)
    assert ("accuracy" in metrics) == bool(learned)
    assert not learned or metrics["accuracy"] == spread(learned)
    before = [float(sweep[int(point.split()[1])]["accuracy"]) for point in {row["point"] for row in rows}]
    assert metrics["accuracy_in_sweep"] == pytest.approx({"min": min(before), "max": max(before)}, **CLOSE)
    counts: dict[str, int] = {}
    for row in rows_of(name):
        counts[row["epoch"]] = counts.get(row["epoch"], 0) + (float(row["accuracy"]) > rule(name)["threshold"])
    assert metrics["learned_by_epoch"] == counts


@pytest.mark.parametrize("name", of_kind("treatments"))
def test_trained_networks(name: str) -> None:
    images = METRICS[name]["images"]
    for row in ends_of(name):
        for treatment, of in METRICS[name]["normalizations"][row["point"]].items():
            if not isinstance(of, Mapping) or "difference" not in of:
                continue
            suffix = "" if treatment == "as_is" else f"_{treatment}"
            lost, gained = int(row[f"lost{suffix}"]), int(row[f"gained{suffix}"])
            difference, changed = of["difference"], lost + gained
            assert of["accuracy"] == float(row[f"accuracy{suffix}"])
            assert difference["mean"] == pytest.approx(of["accuracy"] - float(row["accuracy_own"]), abs=1e-6)
            p = min(1, 2 * stats.binom.cdf(min(lost, gained), changed, 0.5)) if changed else 1
            assert difference["p_different"] == pytest.approx(p, rel=1e-4)
            a, b, total = (lost + 1) / (images + 2), (gained + 1) / (images + 2), images + 2
            reach = stats.norm.ppf(0.5 + rule(name)["confidence"] / 2) * math.sqrt((a + b - (b - a) ** 2) / total)
            expected = {"low": max(-1, b - a - reach), "high": min(1, b - a + reach)}
            assert difference["interval"] == pytest.approx(expected, **CLOSE)
            wrong = round(images * (1 - float(row["accuracy_own"])))
            both_wrong, right = wrong - gained, images - wrong - lost
            own = (1.0,) * (both_wrong + lost) + (0.0,) * (gained + right)
            other = (1.0,) * both_wrong + (0.0,) * lost + (1.0,) * gained + (0.0,) * right
            assert difference["relative_error"]["mean"] == pytest.approx((lost - gained) / wrong, **CLOSE)
            check_delta(own, other, rule(name)["confidence"], difference["relative_error"]["interval"])


@pytest.mark.parametrize("name", of_kind("photographs"))
def test_photographs(name: str) -> None:
    (row,) = ends_of(name)
    for color, of in METRICS[name]["channels"].items():
        assert of == {key: float(row[f"{key}_{color[0]}"]) for key in of}
    assert METRICS[name]["accuracy"] == float(row["accuracy"])


@pytest.mark.parametrize("name", of_kind("law"))
def test_largest_rates(name: str) -> None:
    """The likelihood is the largest at the estimate, and lower by the quantile at the ends of the interval."""
    tried: dict[str, dict[str, list[tuple[float, bool]]]] = {}
    for row in ends_of(name):
        learned = float(row["accuracy"]) > rule(name)["threshold"]
        tried.setdefault(row["mean"], {}).setdefault(row["seed"], []).append((float(row["lr"]), learned))
    limits: list[tuple[float, float, float]] = []
    for of_mean, of_seeds in tried.items():
        offset = abs(float(of_mean) - PIXELS["mean"]) / PIXELS["std"]
        works = [max([rate for rate, learned in trials if learned], default=0.0) for trials in of_seeds.values()]
        rates = sorted({rate for trials in of_seeds.values() for rate, _ in trials})
        fails = [min([rate for rate in rates if rate > most], default=math.inf) for most in works]
        limits += [(math.log1p(offset**2), *pair) for pair in zip(works, fails, strict=True)]
        given = METRICS[name]["offsets"][of_mean]
        assert (given.get("all", 0.0), given.get("none", math.inf)) == (min(works), max(fails))
        assert given["offset"] == pytest.approx(offset, **CLOSE)
    inside = [(x, low, high) for x, low, high in limits if low > 0 and high < math.inf]
    assert METRICS[name]["censored"] == len(limits) - len(inside)
    if "exponent" not in METRICS[name]:
        assert len({x for x, *_ in inside}) < 2
        return
    least = mean(math.log(high / low) for _, low, high in inside) / math.sqrt(12)

    x = np.array([[x] for x, *_ in limits])
    with np.errstate(divide="ignore"):
        logs = np.log([[low, high] for _, low, high in limits])

    def loss(exponent: float) -> float:
        """The least one over lattices of the rate at no offset and of the spread."""
        middle = mean(math.log(low * high) / 2 + exponent * x for x, low, high in inside)
        return min(
            -np.log(np.diff(stats.norm.cdf(logs - start + exponent * x, scale=spread))).sum()
            for start in [middle + 0.05 * step for step in range(-6, 7)]
            for spread in [least * 1.15**step for step in range(6)]
        )

    estimate, interval = METRICS[name]["exponent"]["estimate"], METRICS[name]["exponent"]["interval"]
    top, quantile = loss(estimate), stats.chi2.ppf(rule(name)["confidence"], 1) / 2
    assert top <= min(loss(estimate - 0.1), loss(estimate + 0.1))
    for end in interval.values():
        assert end is None or loss(end) - top == pytest.approx(quantile, abs=0.1)
    ends = [-math.inf if interval["low"] is None else interval["low"], interval["high"] or math.inf]
    assert METRICS[name]["exponent"]["holds"] == (ends[0] <= 1 <= ends[1])


def test_each_study_of_the_settings_that_has_a_table_is_recomputed() -> None:
    assert {path.stem for path in (ROOT / "plots/trials").glob("*.csv")} == METRICS.keys()
    assert {kind(name) for name in METRICS} >= {"points", "search", "sweep_trials", "treatments", "photographs"}


def test_report_shows_no_mean_of_a_point_with_seeds_that_did_not_learn() -> None:
    """Where some of the seeds did not learn, the report says how many did, beside the mean of those alone."""
    report = (ROOT / "report.md").read_text()
    for name in of_kind("points"):
        section = report.partition(f"### {name}: ")[2].partition("\n### ")[0].partition("\n## ")[0]
        lines = {line[2:].partition(" ")[0]: line for line in section.splitlines() if line.startswith("| ")}
        for point, of in METRICS[name].items():
            if of["learned"] == of["n"]:
                continue
            assert "difference" not in of
            if point in lines:
                said = f"({of['learned']} of {of['n']} learn)" if of["learned"] else "none learns"
                assert said in lines[point], (name, point)
                assert f"**{point}**: {of['learned']} of {of['n']} seeds learn" in section
