"""The paired comparison: the right conclusion where the truth is known, and how often a wrong one."""

import numpy as np
import pytest
from scipy import stats

from stages.evidence.paired import DIFFERENT, EQUIVALENT, UNDECIDED, compare, error_rates

MARGIN, CONFIDENCE = 0.002, 0.95
REFERENCE = np.array([0.9840, 0.9832, 0.9851, 0.9829, 0.9845, 0.9838, 0.9826, 0.9847])
NOISE = np.array([3, -2, 1, -4, 2, 0, -1, 1]) * 1e-4  # of mean 0


def conclusion(differences: np.ndarray) -> str:
    reference = REFERENCE[: len(differences)]
    return compare(reference + differences, reference, MARGIN, CONFIDENCE)["conclusion"]


def test_made_up_data_get_the_conclusion_that_they_were_made_for() -> None:
    assert conclusion(NOISE) == EQUIVALENT
    assert conclusion(NOISE - 0.004) == DIFFERENT
    assert conclusion(NOISE + 0.004) == DIFFERENT
    assert conclusion(NOISE * 20) == UNDECIDED
    assert conclusion(NOISE + MARGIN) == DIFFERENT  # on the margin is not within it


def test_real_but_small_difference_is_equivalent_and_told() -> None:
    result = compare(REFERENCE + NOISE + 0.0008, REFERENCE, MARGIN, CONFIDENCE)
    assert result["conclusion"] == EQUIVALENT
    assert result["p_different"] < 0.05
    assert result["interval"]["low"] > 0
    assert result["interval"]["high"] < MARGIN


def test_figures_are_those_of_the_textbook() -> None:
    result = compare(REFERENCE + NOISE + 0.0005, REFERENCE, MARGIN, CONFIDENCE)
    # By hand: squares 9 + 4 + 1 + 16 + 4 + 0 + 1 + 1 = 36, std sqrt(36 / 7), standard error sqrt(36 / 56), all in 1e-4;
    # quantile of Student's t with 7 degrees of freedom: 2.364624.
    error = (36 / 56) ** 0.5 * 1e-4
    assert result["n"] == 8
    assert result["mean"] == pytest.approx(0.0005)
    assert result["std"] == pytest.approx((36 / 7) ** 0.5 * 1e-4)
    assert result["effect"] == pytest.approx(5 / (36 / 7) ** 0.5)
    assert result["interval"]["low"] == pytest.approx(0.0005 - 2.364624 * error)
    assert result["interval"]["high"] == pytest.approx(0.0005 + 2.364624 * error)
    assert result["p_different"] == pytest.approx(2 * stats.t.sf(0.0005 / error, 7))
    assert result["p_equivalent"] == pytest.approx(stats.t.sf((MARGIN - 0.0005) / error, 7))
    assert result["p_different"] == pytest.approx(stats.ttest_rel(REFERENCE + NOISE + 0.0005, REFERENCE).pvalue)


def test_equivalence_at_95_percent_means_that_the_90_percent_interval_is_within_the_margin() -> None:
    for shift in np.linspace(0.001, 0.003, 201):
        result = compare(REFERENCE + 3 * NOISE + shift, REFERENCE, MARGIN, CONFIDENCE)
        inner = compare(REFERENCE + 3 * NOISE + shift, REFERENCE, MARGIN, 0.90)["interval"]
        assert (result["conclusion"] == EQUIVALENT) == (inner["low"] > -MARGIN and inner["high"] < MARGIN)


def test_direction_of_the_difference_changes_its_sign_only() -> None:
    there = compare(REFERENCE + NOISE + 0.0005, REFERENCE, MARGIN, CONFIDENCE)
    back = compare(REFERENCE, REFERENCE + NOISE + 0.0005, MARGIN, CONFIDENCE)
    assert back["mean"] == pytest.approx(-there["mean"])
    assert back["interval"]["low"] == pytest.approx(-there["interval"]["high"])
    assert {key: back[key] for key in ("p_different", "p_equivalent", "conclusion")} == pytest.approx(
        {key: there[key] for key in ("p_different", "p_equivalent", "conclusion")}
    )


def test_single_pair_decides_nothing() -> None:
    result = compare(np.array([0.5]), np.array([0.98]), MARGIN, CONFIDENCE)
    assert result["conclusion"] == UNDECIDED
    assert result["mean"] == pytest.approx(-0.48)
    assert {result[key] for key in ("std", "effect", "interval", "p_different", "p_equivalent")} == {None}


@pytest.mark.parametrize(
    ("shift", "expected", "p_different"), [(0, EQUIVALENT, 1), (0.001, EQUIVALENT, 0), (0.003, DIFFERENT, 0)]
)
def test_differences_without_spread_have_the_conclusion_of_ever_smaller_spread(
    shift: float, expected: str, p_different: float
) -> None:
    result = compare(REFERENCE + shift, REFERENCE, MARGIN, CONFIDENCE)
    assert (result["conclusion"], result["p_different"]) == (expected, p_different)
    assert result["interval"] == {"low": pytest.approx(shift), "high": pytest.approx(shift)}
    nearly = compare(REFERENCE + shift + NOISE * 1e-4, REFERENCE, MARGIN, CONFIDENCE)
    assert nearly["conclusion"] == expected
    assert nearly["p_different"] == pytest.approx(p_different, abs=1e-6)


@pytest.mark.parametrize(
    ("accuracies", "reference", "margin", "confidence"),
    [
        ([0.9, np.nan], [0.9, 0.9], 0.002, 0.95),
        ([0.9, np.inf], [0.9, 0.9], 0.002, 0.95),
        ([0.9], [0.9, 0.9], 0.002, 0.95),
        ([], [], 0.002, 0.95),
        ([0.9, 0.8], [0.9, 0.9], 0.0, 0.95),
        ([0.9, 0.8], [0.9, 0.9], 0.002, 1.0),
    ],
)
def test_what_is_no_comparison_is_refused(accuracies, reference, margin: float, confidence: float) -> None:
    with pytest.raises(ValueError, match=r"pairs|finite|margin"):
        compare(np.array(accuracies), np.array(reference), margin, confidence)


@pytest.mark.parametrize("n", [2, 8, 30])
def test_error_rates_are_those_that_the_tests_promise(n: int) -> None:
    rates = error_rates(n, MARGIN, CONFIDENCE, spread=0.0012, repetitions=20_000, seed=1)
    error = 4 * (0.05 * 0.95 / 20_000) ** 0.5  # four standard errors of a share of 0.05
    assert rates["0"]["rejected"] == pytest.approx(0.05, abs=error)
    for rate in rates.values():
        assert rate["covered"] == pytest.approx(0.95, abs=error)
        assert rate[EQUIVALENT] + rate[DIFFERENT] + rate[UNDECIDED] == pytest.approx(1)
    # The wrong conclusions of the rule as a whole.
    assert rates["0"][DIFFERENT] <= 0.05 + error
    assert rates["1"][EQUIVALENT] <= 0.05 + error
    assert rates["2"][EQUIVALENT] <= 0.05 + error


def test_eight_seeds_find_what_is_there() -> None:
    rates = error_rates(8, MARGIN, CONFIDENCE, spread=0.0012, repetitions=20_000, seed=1)
    assert rates["0"][EQUIVALENT] > 0.95
    assert rates["2"][DIFFERENT] > 0.95
    assert rates["1"][EQUIVALENT] == pytest.approx(0.05, abs=0.01)  # at the margin itself the promise is used up


def test_simulated_rates_are_those_of_compare_itself() -> None:
    noise = np.random.default_rng(7).normal(0, 0.0012, (300, 5))
    rates = error_rates(5, MARGIN, CONFIDENCE, spread=0.0012, repetitions=300, seed=7)
    for multiple in (0, 0.5, 1, 2):
        results = [
            compare(0.98 + multiple * MARGIN + row, np.full(5, 0.98), MARGIN, CONFIDENCE)["conclusion"] for row in noise
        ]
        for name in (EQUIVALENT, DIFFERENT, UNDECIDED):
            assert rates[f"{multiple:g}"][name] == pytest.approx(results.count(name) / 300)
