"""Every statistic in metrics/studies again from the tables, by pandas and scipy, not by what stages/evidence does."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, SETTINGS
from scipy import optimize, stats

from stages import judge
from stages.evidence import judgement
from stages.settings.params import Rule

PIXELS = json.loads((ROOT / "metrics/statistics.json").read_text())["train"]
METRICS = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "metrics/studies").glob("*.json"))}
CLOSE: dict[str, Any] = {"rel": 2e-5, "abs": 2e-6}  # the tables have six digits


def of_kind(kind: str) -> list[str]:
    return [name for name, of in METRICS.items() if of["kind"] == kind]


def ends_of(name: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / f"plots/trials/{name}.csv").drop_duplicates("trial", keep="last")


def spread(values: pd.Series) -> Any:
    return pytest.approx({"min": values.min(), "median": values.median(), "max": values.max()}, **CLOSE)


@pytest.mark.parametrize("name", of_kind("seeds"))
def test_points_over_seeds(name: str) -> None:
    ends, metrics, own = ends_of(name), METRICS[name]["points"], SETTINGS.rule.for_study(name)
    trials = {point: of.set_index("seed") for point, of in ends.groupby("point")}
    learned = {point: of[of["accuracy"] > own.threshold] for point, of in trials.items()}
    comparable = {point for point, of in trials.items() if len(learned[point]) == len(of)}
    assert metrics.keys() == trials.keys()
    for point, of in metrics.items():
        assert (of["n"], of["learned"]) == (len(trials[point]), len(learned[point]))
        compared = point != own.reference and {point, own.reference} <= comparable
        assert ("difference" in of) == compared
        for outcome in ("accuracy", "loss"):
            assert (outcome in of) == (of["learned"] > 0)
            if of["learned"]:
                check_seeds(of[outcome], learned[point][outcome])
    p: dict[str, float] = {}
    for point, of in metrics.items():
        if "difference" in of:
            pairs = pd.concat([trials[point]["accuracy"], trials[own.reference]["accuracy"]], axis=1, join="inner")
            p |= check_difference(point, of["difference"], pairs.to_numpy(), own)
    order = sorted(p, key=lambda point: p[point])
    for step, point in enumerate(order):  # Holm: the smallest p has the strictest level; after a failure all fail
        family = len(metrics) - 1  # also those that could not be compared
        levels = [(1 - own.confidence) / (family - at) for at in range(step + 1)]
        found = all(p[each] < level for each, level in zip(order, levels, strict=False))
        assert metrics[point]["difference"]["differs"] == ("yes" if found else "no")


def check_seeds(found: Mapping[str, Any], values: pd.Series) -> None:
    if values.isna().any():  # a training run that diverged has no loss
        assert found["mean"] is None
        return
    expected = {"n": len(values), "mean": values.mean(), "min": values.min(), "max": values.max()}
    assert {key: value for key, value in found.items() if key != "std"} == pytest.approx(expected, **CLOSE)
    assert found["std"] == (pytest.approx(values.std(), **CLOSE) if len(values) > 1 else None)


def check_difference(point: str, found: Mapping[str, Any], pairs: np.ndarray, own: Rule) -> dict[str, float]:
    """Checks a difference; returns its p by the name of the point, unless it is that of a single pair."""
    differences, confidence, margin = pairs[:, 0] - pairs[:, 1], own.confidence, own.margin
    assert found["n"] == len(pairs)
    assert found["mean"] == pytest.approx(differences.mean(), rel=5e-6, abs=2e-6)
    check_relative(1 - pairs, confidence, found["relative_error"])
    if len(pairs) == 1:
        return {}
    assert found["std"] == pytest.approx(differences.std(ddof=1), abs=2e-6)
    (below, over), (under, above) = (
        [stats.ttest_1samp(differences, end, alternative=side).pvalue for side in ("less", "greater")]
        for end in (-margin, margin)
    )
    assert found["p"]["within"] == pytest.approx(max(over, under), **CLOSE)
    assert found["p"]["beyond"] == pytest.approx(min(1, 2 * min(below, above)), **CLOSE)
    test = stats.ttest_rel(*pairs.T)
    low, high = test.confidence_interval(confidence)
    assert found["interval"] == pytest.approx({"low": low, "high": high}, abs=2e-6)
    assert found["p"]["differs"] == pytest.approx(test.pvalue, abs=2e-6)
    return {point: test.pvalue}


def check_relative(errors: np.ndarray, confidence: float, found: Mapping[str, Any]) -> None:
    """Delta method for a ratio of means, by variances and the covariance; errors: pairs (n, 2)."""
    n, (own, other) = len(errors), errors.mean(axis=0)
    ratio = own / other
    assert found["mean"] == pytest.approx(ratio - 1, **CLOSE)
    if n == 1:
        assert found["interval"] is None
        return
    (of_own, both), (_, of_other) = np.cov(errors.T)
    variance = (of_own - 2 * ratio * both + ratio**2 * of_other) / n / other**2
    reach = stats.t.ppf((1 + confidence) / 2, n - 1) * math.sqrt(max(0, variance))
    expected = {"low": ratio - 1 - reach, "high": ratio - 1 + reach}
    assert found["interval"] == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", of_kind("search"))
def test_searches(name: str) -> None:
    trials, metrics = ends_of(name).reset_index(), METRICS[name]
    accuracy, best = trials["accuracy"], trials["accuracy"].max()
    assert (metrics["completed"], metrics["best"]["accuracy"]) == (len(trials), best)
    assert metrics["best"]["number"] == accuracy.idxmax()
    learned = trials[accuracy > SETTINGS.rule.for_study(name).threshold]
    assert metrics["learned"] == len(learned)
    even, odd = trials["accuracy_even"], trials["accuracy_odd"]
    crossed = (odd[even.idxmax()] + even[odd.idxmax()]) / 2
    assert metrics["best"]["cross_half_accuracy"] == pytest.approx(crossed, **CLOSE)
    good = trials[accuracy >= best - SETTINGS.rule.for_study(name).tolerance]
    axes = SETTINGS.studies[name].search.space  # type: ignore[union-attr]
    assert metrics["good"] == {"count": len(good)} | {axis: spread(good[axis]) for axis in axes}
    assert metrics["accuracies"] == {outcome: spread(learned[outcome]) for outcome in metrics["accuracies"]}


@pytest.mark.parametrize("name", of_kind("treatments"))
def test_trained_networks(name: str) -> None:
    images, confidence = METRICS[name]["images"], SETTINGS.rule.for_study(name).confidence
    for row in ends_of(name).to_dict("records"):
        for treatment, of in METRICS[name]["normalizations"][row["point"]].items():
            if not isinstance(of, Mapping) or "difference" not in of:
                continue
            suffix = "" if treatment == "as_is" else f"_{treatment}"
            lost, gained = row[f"lost{suffix}"], row[f"gained{suffix}"]
            difference, changed = of["difference"], lost + gained
            assert of["accuracy"] == row[f"accuracy{suffix}"]
            assert difference["mean"] == pytest.approx(of["accuracy"] - row["accuracy_own"], abs=1e-6)
            p = min(1, 2 * stats.binom.cdf(min(lost, gained), changed, 0.5)) if changed else 1
            assert difference["p_different"] == pytest.approx(p, rel=1e-4)
            a, b, total = (lost + 1) / (images + 2), (gained + 1) / (images + 2), images + 2
            reach = stats.norm.ppf(0.5 + confidence / 2) * math.sqrt((a + b - (b - a) ** 2) / total)
            expected = {"low": max(-1, b - a - reach), "high": min(1, b - a + reach)}
            assert difference["interval"] == pytest.approx(expected, **CLOSE)
            wrong = round(images * (1 - row["accuracy_own"]))
            counts = wrong - gained, lost, gained, images - wrong - lost  # wrong twice, only now, only before, never
            errors = np.repeat([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], counts, axis=0)
            check_relative(errors, confidence, difference["relative_error"])


@pytest.mark.parametrize("name", of_kind("photographs"))
def test_photographs(name: str) -> None:
    (row,) = ends_of(name).to_dict("records")
    for color, of in METRICS[name]["channels"].items():
        assert of == {key: row[f"{key}_{color[0]}"] for key in of}
    assert METRICS[name]["accuracy"] == row["accuracy"]


@pytest.mark.parametrize("name", of_kind("law"))
def test_largest_rates(name: str) -> None:
    """The likelihood is the largest at the estimate, and lower by the quantile at the ends of the interval."""
    trials, metrics = ends_of(name), METRICS[name]
    rates = np.array([*sorted(set(trials["lr"])), math.inf])
    rates_that_work = trials["lr"].where(trials["accuracy"] > SETTINGS.rule.for_study(name).threshold, 0)
    largest = rates_that_work.groupby([trials["mean"], trials["seed"]]).max().rename("works").reset_index()
    largest["fails"] = rates[np.searchsorted(rates, largest["works"], side="right")]
    largest["offset"] = (largest["mean"] - PIXELS["mean"]).abs() / PIXELS["std"]
    for mean, of in largest.groupby("mean"):
        given = metrics["offsets"][str(mean)]
        assert (given.get("all", 0.0), given.get("none", math.inf)) == (of["works"].min(), of["fails"].max())
        assert given["offset"] == pytest.approx(of["offset"].iloc[0], **CLOSE)
    x, (low, high) = np.log1p(largest["offset"] ** 2).to_numpy(), largest[["works", "fails"]].to_numpy().T
    inside = (low > 0) & np.isfinite(high)
    assert metrics["censored"] == (~inside).sum()
    if "exponent" not in metrics:
        assert len(set(x[inside])) < 2
        return
    with np.errstate(divide="ignore"):
        low, high = np.log(low), np.log(high)
    least = (high - low)[inside].mean() / math.sqrt(12)

    def loss(exponent: float) -> float:
        """The least one over the rate at no offset and the spread."""

        def of(free: np.ndarray) -> float:
            below, above = (stats.norm.cdf(end + exponent * x, *free) for end in (low, high))
            return -np.log(above - below).sum()

        start = ((low + high)[inside] / 2 + exponent * x[inside]).mean()
        return optimize.minimize(of, (start, 2 * least), bounds=[(None, None), (least, None)], method="Nelder-Mead").fun

    estimate, interval = metrics["exponent"]["estimate"], metrics["exponent"]["interval"]
    top, quantile = loss(estimate), stats.chi2.ppf(SETTINGS.rule.for_study(name).confidence, 1) / 2
    assert top <= min(loss(estimate - 0.01), loss(estimate + 0.01))
    for end in interval.values():
        assert end is None or loss(end) - top == pytest.approx(quantile, abs=0.01)
    ends = [-math.inf if interval["low"] is None else interval["low"], interval["high"] or math.inf]
    assert metrics["exponent"]["holds"] == (ends[0] <= 1 <= ends[1])


def test_metrics_are_those_that_the_judge_makes_of_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So what is tested here is the code as it stands."""
    (tmp_path / "metrics/studies").mkdir(parents=True)
    for path in ("plots", "metrics/statistics.json", "stages"):
        (tmp_path / path).symlink_to(ROOT / path)
    monkeypatch.chdir(tmp_path)
    judge.main(SETTINGS)
    assert {path.stem: json.loads(path.read_text()) for path in judgement.FOLDER.glob("*.json")} == METRICS
    assert all(of_kind(kind) for kind in ("seeds", "law", "search", "treatments", "photographs"))
