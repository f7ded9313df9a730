"""Tables of trials and what they say: points over seeds, searches; from made-up results."""

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest
from conftest import SETTINGS

from stages.common import tables
from stages.common.errors import InputError
from stages.evidence import judgement
from stages.evidence.paired import YES
from stages.settings.params import Parameters

pytestmark = pytest.mark.usefixtures("here")
POINTS: dict[str, Parameters] = {
    "standard": {"mean": 0.1307, "std": 1 / 3, "shuffle": False, "init": "default", "epochs": 2},
    "longer": {"mean": 0.1307, "std": 1 / 3, "shuffle": False, "init": "default", "epochs": 3},
    "short": {"mean": 0.0, "std": 1.0, "shuffle": False, "epochs": 1, "start_mean": 0.1307},
}


def result(*accuracy: float, loss: float | None = 0.5, **more: object) -> dict[str, Any]:
    lists = {"accuracy_by_epoch": list(accuracy), "loss_by_epoch": [loss] * len(accuracy)}
    halves = {"accuracy_even": accuracy[-1] - 0.1, "accuracy_odd": accuracy[-1] + 0.1}
    return {"accuracy": accuracy[-1], **halves, "loss": loss, **lists, "device": "cpu", "seconds": 7.5, **more}


RESULTS = {
    "standard": [result(0.5, 0.8), result(0.6, 0.9)],
    "longer": [result(0.5, 0.8, 0.9), result(0.6, 0.9, 0.99)],
    "short": [result(0.4), result(0.4, loss=None)],
}


def over_seeds(results: Mapping[str, list[dict]]) -> pd.DataFrame:
    """The table of points over seeds, which begin with 5, seed by seed."""
    longest = max(map(len, results.values()))
    planned = [(index, point) for index in range(longest) for point, of in results.items() if index < len(of)]
    trials = [(point, POINTS[point] | {"seed": 5 + index}) for index, point in planned]
    tables.write("made_up", trials, [results[point][index] for index, point in planned])
    return tables.read("made_up")


def searched(points: list[Parameters], results: list[dict]) -> pd.DataFrame:
    tables.write("made_up", [("", of_trial) for of_trial in points], results)
    return tables.read("made_up")


def comparison(results: Mapping[str, list[dict]]) -> judgement.Metrics:
    return judgement.comparison(over_seeds(results), SETTINGS.rule, images=10_000)


def test_table_has_a_row_for_each_trial_and_epoch_and_never_tells_time() -> None:
    table = over_seeds(RESULTS)
    trials = [(seed, point) for seed in (5, 6) for point in POINTS]
    assert table[["trial", "seed", "point", "epoch"]].values.tolist() == [
        [number, seed, point, epoch]
        for number, (seed, point) in enumerate(trials)
        for epoch in range(1, int(POINTS[point]["epochs"]) + 1)
    ]
    assert table["accuracy"].head(5).tolist() == [0.5, 0.8, 0.5, 0.8, 0.9]
    assert table["accuracy_even"].isna().tolist()[:2] == [True, False]  # of the whole trial: at its end
    assert table["loss"].isna().tolist()[-2:] == [False, True]  # no number
    assert "seconds" not in table
    assert over_seeds({"standard": [{"accuracy": 0.9, "loss": 0.1, "device": "cpu"}]})["epoch"].tolist() == [1]


def test_parameters_come_back_from_the_table_as_they_were() -> None:
    given: list[Parameters] = [of | {"seed": 5} for of in POINTS.values()]
    given += [{"mean": 1e-300 / 3, "std": 5.0, "held_out": 10_000, "start_mean": 0.1 + 0.2}]
    found = tables.parameters(searched(given, [result(0.9)] * len(given)))
    assert [repr(sorted(each.items())) for each in found] == [repr(sorted(each.items())) for each in given]


def test_outcomes_are_in_one_order_whatever_the_storages() -> None:
    silent = {"fc1_silent_after": 0.1, "fc1_silent_before": 0.2, "conv1_silent_after": 0.3, "conv1_silent_before": 0.4}
    assert list(searched([{"lr": 1.0}], [silent | result(0.9)]))[3:] == [
        *("epoch", "accuracy", "accuracy_even", "accuracy_odd", "loss", "conv1_silent_before", "fc1_silent_before"),
        *("conv1_silent_after", "fc1_silent_after", "device"),
    ]


@pytest.mark.parametrize(
    ("whole", "damaged"),
    [("trial.*", ""), (",device", ",other"), (",cpu\n$", ""), ("0.8", "x"), ("0.8", "1.8"), ("\n$", ",more\n")],
)
def test_what_is_no_table_is_one_line(whole: str, damaged: str) -> None:
    over_seeds(RESULTS)
    file = tables.path("made_up")
    file.write_text(re.sub(whole, damaged, file.read_text(), flags=re.S))
    with pytest.raises(InputError, match=r"^plots/trials/made_up\.csv: is damaged, or not .+ \(.+\); `git restore` "):
        tables.read("made_up")


def test_resolution_is_that_of_the_images_that_were_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal differences have the spread that rounding to that resolution makes."""
    same, reach = {"standard": [result(0.8)] * 4, "longer": [result(0.9)] * 4}, []
    for held_out in ({}, {"held_out": 100}):
        for point in same:
            monkeypatch.setitem(POINTS, point, POINTS[point] | held_out)
        interval = comparison(same)["longer"]["difference"]["interval"]
        reach.append(interval["high"] - interval["low"])
    assert reach[1] == pytest.approx(100 * reach[0])


def test_difference_needs_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    of = {"standard": [result(0.9), result(0.8)], "short": [result(0.7), result(0.6, loss=None)]}
    metrics = comparison(of)["short"]
    assert metrics["difference"]["differs"] == YES  # without any spread
    assert pd.isna(metrics["loss"]["mean"])  # one of its losses is no number
    monkeypatch.setitem(POINTS, "short", POINTS["short"] | {"held_out": 100})  # tested on other images
    assert "difference" not in comparison(of)["short"]
