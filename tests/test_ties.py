"""Differences of accuracies are multiples of 1 / images: few of them tie by chance, and must not count as certain."""

import numpy as np
import pytest

from stages.evidence.paired import answers, compare, holm, p_values

SPREAD = 0.0014  # of paired differences, in accuracy, as with LeNet


@pytest.mark.parametrize("images", [400, 10_000])
@pytest.mark.parametrize("n", [2, 3, 4, 8, 64])
@pytest.mark.parametrize("family", [1, 5, 55])
def test_no_difference_is_found_where_there_is_none(images: int, n: int, family: int) -> None:
    random = np.random.default_rng(images + n + family)
    shape = (2, 6000 // family + 200, family, n)
    values, reference = np.round(images * random.normal(0.983, SPREAD / 2**0.5, shape)) / images
    p = p_values(values - reference, margin=0.002, step=1 / images)["differs"]
    found = np.any(holm(p, planned=family) < 0.05, axis=-1).tolist()
    assert np.mean(found) <= 0.05 + 3 * (0.05 * 0.95 / len(found)) ** 0.5


def test_equal_differences_are_no_proof_but_many_are() -> None:
    tie = {"none": compare(np.array([0.9831, 0.9841]), np.array([0.983, 0.984]), 0.95, 0.002, 1e-4)}
    assert answers(tie, 0.95, planned=1)["none"]["differs"] == "no"
    assert tie["none"]["interval"]["low"] < 0 < tie["none"]["interval"]["high"]
    many = {"none": compare(np.full(8, 0.983), np.full(8, 0.984), 0.95, 0.002, 1e-4)}
    assert answers(many, 0.95, planned=1)["none"]["differs"] == "yes"
