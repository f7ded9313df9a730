"""The law of the largest learning rate: its fit where the truth is known, and tables that allow none."""

import math

import numpy as np
import pandas as pd
import pytest

from stages.common import files
from stages.common.errors import InputError
from stages.evidence.law import fit, varied

RATES = 0.000625 * 4.0 ** np.arange(6)
OFFSETS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)


def largest(*rows: tuple[float, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["offset", "works", "fails"], dtype=float)


def on_a_line(exponent: float, rate: float) -> pd.DataFrame:
    """For each offset, the steps of the grid between which the largest rate lies."""
    rows = []
    for offset in OFFSETS:
        true = rate * (1 + offset**2) ** -exponent
        rows.append((offset, RATES[true >= RATES].max(initial=0), RATES[true < RATES].min(initial=math.inf)))
    return largest(*rows)


@pytest.mark.parametrize(("exponent", "rate"), [(1.0, 0.15), (0.4, 0.3), (1.6, 0.3), (1.0, 0.01)])
def test_interval_has_the_exponent_and_says_whether_the_law_holds(exponent: float, rate: float) -> None:
    found = fit(on_a_line(exponent, rate), 0.95)["exponent"]
    low, high = found["interval"]["low"], found["interval"]["high"]
    assert low < exponent < high
    assert found["holds"] == (low <= 1 <= high)


def test_rates_beyond_the_grid_count() -> None:
    for beyond, sign in (((16.0, 0.0, 0.000625), 1), ((16.0, 2.56, math.inf), -1)):
        exponent = fit(largest((1.0, 0.01, 0.04), (2.0, 0.01, 0.04), beyond), 0.95)["exponent"]
        assert sign * exponent["estimate"] > 0.3


@pytest.mark.parametrize(
    "rates",
    [
        [],
        [(offset, 0.0, 0.1) for offset in OFFSETS],  # nothing works
        [(offset, 0.1, math.inf) for offset in OFFSETS],  # all rates work
        [(1.0, 0.1, 0.4)] * 3,
    ],
)
def test_without_two_offsets_within_the_grid_there_is_no_exponent(rates: list[tuple[float, float, float]]) -> None:
    assert fit(largest(*rates), 0.95) == {}


def test_study_of_the_law_is_known_by_what_its_trials_vary() -> None:
    changes: list[dict[str, float]] = [{"mean": 0}, {"lr": 0.1}, {"seed": 2}, {"std": 2}]
    trial = {"trial": 0, "point": "", "mean": 1, "std": 1, "lr": 0.2, "seed": 1, "epoch": 1}
    trials = pd.DataFrame([trial | change for change in changes])
    assert varied(trials.head(3)) == {"mean", "lr"}
    assert varied(trials) == {"mean", "lr", "std"}


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("two\nlines"), ZeroDivisionError(), AttributeError()])
def test_whatever_a_damaged_table_raises_is_one_line(error: Exception) -> None:
    line = (
        r"^plots/trials/x\.csv: is damaged, or not of such a study \(.*\); `git restore` or `dvc repro` brings it back$"
    )
    with pytest.raises(InputError, match=line), files.whole("plots/trials/x.csv"):
        raise error
