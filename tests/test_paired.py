"""The paired comparison: the right answers where the truth is known, and how often wrong ones."""

import csv
import json

import numpy as np
import pytest
import yaml
from conftest import ROOT
from scipy import stats

from stages.evidence.paired import NO, OPEN, YES, answers, compare, holm, interval, p_values

MARGIN, CONFIDENCE = 0.002, 0.95
REFERENCE = np.array([0.9840, 0.9832, 0.9851, 0.9829, 0.9845, 0.9838, 0.9826, 0.9847])
NOISE = np.array([3, -2, 1, -4, 2, 0, -1, 1]) * 1e-4  # of mean 0
SPREADS = {"zero_one": 0.001548, "none": 0.003654}  # of differences from standard after one epoch, over 8 seeds


def answer(*differences: np.ndarray) -> list[tuple[str, str]]:
    compared = {
        str(number): compare(REFERENCE[: len(each)] + each, REFERENCE[: len(each)], CONFIDENCE, MARGIN)
        for number, each in enumerate(differences)
    }
    return [(each["differs"], each["exceeds"]) for each in answers(compared, CONFIDENCE, len(compared)).values()]


@pytest.mark.parametrize(
    ("differences", "differs", "exceeds"),
    [
        (NOISE, NO, NO),
        (NOISE + 0.0008, YES, NO),  # real, but too small to matter
        (NOISE - 0.0008, YES, NO),
        (NOISE + 0.004, YES, YES),
        (NOISE - 0.004, YES, YES),
        (NOISE + MARGIN, YES, OPEN),  # on the margin is neither within nor beyond it
        (NOISE * 5 - 0.0018, YES, OPEN),
        (NOISE * 20, NO, OPEN),
        (NOISE[:1], OPEN, OPEN),
    ],
)
def test_made_up_data_get_the_answers_that_they_were_made_for(differences, differs: str, exceeds: str) -> None:
    assert answer(differences) == [(differs, exceeds)]


def test_answers_are_corrected_for_the_number_of_comparisons() -> None:
    just = NOISE * 5 - 0.0012  # p of about 0.02 alone
    assert answer(just)[0][0] == YES
    assert [differs for differs, _ in answer(just, NOISE, NOISE)] == [NO, NO, NO]
    assert [differs for differs, _ in answer(just, NOISE - 0.004, NOISE - 0.004)] == [YES, YES, YES]  # the last step
    alone = {"one": compare(REFERENCE + just, REFERENCE, CONFIDENCE, MARGIN)}
    assert [answers(alone, CONFIDENCE, planned)["one"]["differs"] for planned in (1, 3)] == [YES, NO]
    single = alone | {"single": compare(np.array([0.5]), np.array([0.98]), CONFIDENCE, MARGIN)}  # could not be tested
    assert answers(single, CONFIDENCE, 3) == answers(alone, CONFIDENCE, 3) | {"single": single_pair()}


def test_holm_is_the_step_down_procedure() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005], 4) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # Holm 1979, by hand
    assert holm([0.9, 0.8], 2) == pytest.approx([1, 1])
    assert holm([0.01, 0.03], 4) == pytest.approx(holm([0.01, 0.03, 1, 1], 4)[:2])
    p = np.random.default_rng(1).uniform(size=(200, 5)) ** 3
    corrected = holm(p, 5)
    for own, all_corrected in zip(p, corrected, strict=True):
        rejected, order = set(), np.argsort(own)
        for step, index in enumerate(order):
            if own[index] >= 0.05 / (5 - step):
                break
            rejected.add(index)
        assert rejected == set(np.flatnonzero(all_corrected < 0.05))


def test_figures_are_those_of_the_textbook() -> None:
    result = compare(REFERENCE + NOISE + 0.0005, REFERENCE, CONFIDENCE, MARGIN)
    # By hand: squares 9 + 4 + 1 + 16 + 4 + 0 + 1 + 1 = 36, std sqrt(36 / 7), standard error sqrt(36 / 56), all in 1e-4;
    # quantile of Student's t with 7 degrees of freedom: 2.364624.
    error = (36 / 56) ** 0.5 * 1e-4
    assert result["n"] == 8
    assert result["mean"] == pytest.approx(0.0005)
    assert result["std"] == pytest.approx((36 / 7) ** 0.5 * 1e-4)
    assert result["interval"]["low"] == pytest.approx(0.0005 - 2.364624 * error)
    assert result["interval"]["high"] == pytest.approx(0.0005 + 2.364624 * error)


@pytest.mark.parametrize("shift", [-0.004, -0.0018, -0.0002, 0, 0.0005, 0.002, 0.0025])
def test_tests_are_those_of_scipy(shift: float) -> None:
    accuracies = REFERENCE + 5 * NOISE + shift
    p, differences = compare(accuracies, REFERENCE, CONFIDENCE, MARGIN)["p"], accuracies - REFERENCE
    assert p["differs"] == pytest.approx(stats.ttest_rel(accuracies, REFERENCE).pvalue)
    below, above = (
        [stats.ttest_1samp(differences, end, alternative=side).pvalue for side in ("less", "greater")]
        for end in (-MARGIN, MARGIN)
    )
    assert p["within"] == pytest.approx(max(below[1], above[0]))
    assert p["beyond"] == pytest.approx(min(1, 2 * min(below[0], above[1])))
    low, high = stats.ttest_rel(accuracies, REFERENCE).confidence_interval(CONFIDENCE)
    assert [float(end) for end in interval(differences, CONFIDENCE)] == pytest.approx([low, high])


def single_pair() -> dict:
    return answers({"only": compare(np.array([0.5]), np.array([0.98]), CONFIDENCE, MARGIN)}, CONFIDENCE, 3)["only"]


def test_single_pair_decides_nothing() -> None:
    result = single_pair()
    assert (result["differs"], result["exceeds"], result["std"], result["interval"]) == (OPEN, OPEN, None, None)
    assert result["mean"] == pytest.approx(-0.48)
    assert set(result["p"].values()) == {None}


@pytest.mark.parametrize(
    ("shift", "expected"), [(0, (NO, NO)), (0.001, (YES, NO)), (0.003, (YES, YES)), (-0.003, (YES, YES))]
)
def test_differences_without_spread_have_the_answers_of_ever_smaller_spread(shift: float, expected) -> None:
    assert answer(0 * NOISE + shift) == answer(NOISE * 1e-4 + shift) == [expected]


def test_outcome_without_a_margin_has_one_answer() -> None:
    result = answers({"loss": compare(REFERENCE + NOISE + 1, REFERENCE, CONFIDENCE)}, CONFIDENCE, 1)["loss"]
    assert (result["differs"], set(result["p"]), "exceeds" in result) == (YES, {"differs"}, False)


@pytest.mark.parametrize(
    ("values", "reference", "margin", "confidence"),
    [
        ([0.9, np.nan], [0.9, 0.9], 0.002, 0.95),
        ([0.9, np.inf], [0.9, 0.9], 0.002, 0.95),
        ([0.9], [0.9, 0.9], 0.002, 0.95),
        ([], [], 0.002, 0.95),
        ([0.9, 0.8], [0.9, 0.9], 0.0, 0.95),
        ([0.9, 0.8], [0.9, 0.9], 0.002, 1.0),
    ],
)
def test_what_is_no_comparison_is_refused(values, reference, margin: float, confidence: float) -> None:
    with pytest.raises(ValueError, match=r"pairs|finite|margin"):
        compare(np.array(values), np.array(reference), confidence, margin)


# How often the rule is wrong, by simulation with the spreads that were measured

REPETITIONS = 20_000
ERROR = 4 * (0.05 * 0.95 / REPETITIONS) ** 0.5  # four standard errors of a share of 0.05


def simulated(n: int, true: dict[str, float]) -> dict[str, np.ndarray]:
    """The corrected p of the planned comparisons, (repetitions, comparisons) for each test.

    They share the reference, so their differences are correlated: half of each variance is that of the reference.
    """
    random = np.random.default_rng(1)
    shared = random.normal(size=(REPETITIONS, n))
    tests: list[dict[str, np.ndarray]] = []
    for name, mean in true.items():
        own = random.normal(size=(REPETITIONS, n))
        tests.append(p_values(mean + SPREADS[name] * (own - shared) / 2**0.5, MARGIN))
    return {test: holm(np.stack([each[test] for each in tests], axis=-1), len(tests)) for test in tests[0]}


@pytest.mark.parametrize("n", [8, 16, 64])
def test_errors_are_as_rare_as_the_confidence_promises(n: int) -> None:
    none = simulated(n, {"zero_one": 0, "none": 0})
    assert (none["differs"] < 0.05).any(axis=1).mean() <= 0.05 + ERROR  # a difference where there is none at all
    assert (none["beyond"] < 0.05).any(axis=1).mean() <= 0.05 + ERROR
    at = simulated(n, {"zero_one": -MARGIN, "none": MARGIN})
    for test in ("within", "beyond"):  # on the margin, where both are at their worst
        assert (at[test] < 0.05).any(axis=1).mean() <= 0.05 + ERROR
    mixed = simulated(n, {"zero_one": 0, "none": -0.0074})  # as it was measured: the false one of a true and a false
    assert (mixed["differs"][:, 0] < 0.05).mean() <= 0.05 + ERROR


@pytest.mark.parametrize("n", [2, 8, 64])
def test_interval_covers_the_truth_as_often_as_it_says(n: int) -> None:
    low, high = interval(np.random.default_rng(2).normal(0.001, SPREADS["zero_one"], (REPETITIONS, n)), 0.95)
    assert ((low <= 0.001) & (high >= 0.001)).mean() == pytest.approx(0.95, abs=ERROR)


# The committed results, recomputed from the tables

RULE = yaml.safe_load((ROOT / "params.yaml").read_text())["rule"]
COMPARED = [path.stem for path in sorted((ROOT / "metrics/studies").glob("*.json")) if "p_holm" in path.read_text()]


@pytest.mark.parametrize("study", COMPARED)
@pytest.mark.parametrize(("outcome", "key"), [("accuracy", "difference"), ("loss", "loss_difference")])
def test_committed_differences_are_those_of_the_tables(study: str, outcome: str, key: str) -> None:
    rule, points = (
        RULE | RULE["studies"].get(study, {}),
        json.loads((ROOT / f"metrics/studies/{study}.json").read_text()),
    )
    ends: dict[str, dict[str, float]] = {}
    with (ROOT / f"plots/trials/{study}.csv").open(newline="") as file:
        for row in csv.DictReader(file):  # the last epoch is the last one
            ends.setdefault(row["point"], {})[row["seed"]] = float(row[outcome] or "nan")
    p: dict[str, float] = {}
    compared = {name: point[key] for name, point in points.items() if key in point}
    for name, difference in compared.items():
        pairs = np.array([(value, ends[rule["reference"]][seed]) for seed, value in ends[name].items()])
        assert difference["n"] == len(pairs)
        assert difference["mean"] == pytest.approx((pairs[:, 0] - pairs[:, 1]).mean(), abs=2e-6)
        if len(pairs) > 1:
            test = stats.ttest_rel(*pairs.T)
            low, high = test.confidence_interval(rule["confidence"])
            # The table has six digits: enough for accuracies, which are counts, not for the p of losses; nor for their
            # interval, which for three seeds reaches two and a half standard deviations to each side.
            of_interval, of_p = {"accuracy": (2e-6, 2e-6), "loss": (5e-6, 5e-4)}[outcome]
            assert [difference["interval"][end] for end in ("low", "high")] == pytest.approx(
                [low, high], abs=of_interval
            )
            assert difference["p"]["differs"] == pytest.approx(p.setdefault(name, test.pvalue), abs=of_p)
    order = sorted(p, key=lambda name: p[name])
    for step, name in enumerate(order):  # Holm: the smallest p has the strictest level, and all after a failure fail
        family = len(points) - 1  # also those that could not be compared
        rejected = all(p[each] < (1 - rule["confidence"]) / (family - at) for at, each in enumerate(order[: step + 1]))
        assert compared[name]["differs"] == (YES if rejected else NO)
