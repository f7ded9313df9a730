"""The paired comparison: the right answers where the truth is known, and how often wrong ones."""

import numpy as np
import pytest

from stages.evidence.paired import NO, OPEN, YES, compare, holm, p_values

MARGIN, CONFIDENCE = 0.002, 0.95
REFERENCE = np.array([0.9840, 0.9832, 0.9851, 0.9829, 0.9845, 0.9838, 0.9826, 0.9847])
SINGLE = np.array([0.5]), np.array([0.98])
NOISE = np.array([3, -2, 1, -4, 2, 0, -1, 1]) * 1e-4  # of mean 0
SPREAD = 0.001548  # of the differences of zero_one from standard, one epoch, over 8 seeds


def answer(*differences: np.ndarray) -> list[tuple[str, str]]:
    pairs = {str(i): (REFERENCE[: len(each)] + each, REFERENCE[: len(each)]) for i, each in enumerate(differences)}
    compared = compare(pairs, CONFIDENCE, len(pairs), MARGIN)
    return [(each["differs"], each["exceeds"]) for each in compared.values()]


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
        (0 * NOISE, NO, NO),  # without spread, as with ever smaller spread
        (0 * NOISE + 0.001, YES, NO),
        (0 * NOISE + 0.003, YES, YES),
        (0 * NOISE - 0.003, YES, YES),
    ],
)
def test_made_up_data_get_the_answers_that_they_were_made_for(differences, differs: str, exceeds: str) -> None:
    assert answer(differences) == [(differs, exceeds)]


def test_answers_are_corrected_for_the_number_of_comparisons() -> None:
    just = NOISE * 5 - 0.0012  # p of about 0.02 alone
    assert answer(just)[0][0] == YES
    assert [differs for differs, _ in answer(just, NOISE, NOISE)] == [NO, NO, NO]
    assert [differs for differs, _ in answer(just, NOISE - 0.004, NOISE - 0.004)] == [YES, YES, YES]  # the last step
    pairs = {"one": (REFERENCE + just, REFERENCE)}
    assert [compare(pairs, CONFIDENCE, planned, MARGIN)["one"]["differs"] for planned in (1, 3)] == [YES, NO]
    alone, both = (compare(each, CONFIDENCE, 3, MARGIN)["one"] for each in (pairs, pairs | {"single": SINGLE}))
    assert both == alone  # what could not be tested was planned all the same


def test_holm_is_the_step_down_procedure() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005], 4) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # Holm 1979, by hand
    assert holm([0.9, 0.8], 2) == pytest.approx([1, 1])


def test_single_pair_decides_nothing() -> None:
    result = compare({"only": SINGLE}, CONFIDENCE, 3, MARGIN)["only"]
    assert (result["differs"], result["exceeds"], result["std"], result["interval"]) == (OPEN, OPEN, None, None)
    assert result["mean"] == pytest.approx(-0.48)
    assert np.isnan([*result["p"].values(), *result["p_holm"].values()]).all()


# Differences of accuracies are multiples of 1 / images: few of them tie by chance, and must not count as certain


@pytest.mark.parametrize("images", [400, 10_000])
@pytest.mark.parametrize("n", [2, 3, 4, 8, 64])
@pytest.mark.parametrize("family", [1, 5, 55])
def test_no_difference_is_found_where_there_is_none(images: int, n: int, family: int) -> None:
    random = np.random.default_rng(images + n + family)
    shape = (2, 6000 // family + 200, family, n)
    values, reference = np.round(images * random.normal(0.983, SPREAD / 2**0.5, shape)) / images
    p = p_values(values - reference, MARGIN, step=1 / images)["differs"]
    found = np.any(holm(p, planned=family) < 0.05, axis=-1)
    assert found.mean() <= 0.05 + 3 * (0.05 * 0.95 / found.size) ** 0.5


def test_equal_differences_are_no_proof_but_many_are() -> None:
    for n, differs in ((2, NO), (8, YES)):
        tie = compare({"none": (np.full(n, 0.9831), np.full(n, 0.983))}, CONFIDENCE, 1, MARGIN, step=1e-4)["none"]
        assert tie["differs"] == differs
        assert (tie["interval"]["low"] > 0) == (differs == YES)
