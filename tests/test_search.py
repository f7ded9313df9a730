"""Tables and metrics of searches, comparisons and follow-ups, from made-up results."""

from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from scipy import stats

from stages.evidence import follow_up, search, seeds
from stages.evidence.paired import YES
from stages.settings import params
from stages.settings.params import Change, Parameters

SETTINGS = params.load(ROOT / "params.yaml")
POINTS: dict[str, Parameters] = {
    "standard": {"mean": 0.1307, "seed": 5, "epochs": 2},
    "longer": {"mean": 0.1307, "seed": 5, "epochs": 3},
    "short": {"mean": 0.0, "seed": 5, "epochs": 1},
}


def result(*accuracy: float, loss: float | None = 0.5) -> dict[str, Any]:
    lists = {"accuracy_by_epoch": list(accuracy), "loss_by_epoch": [loss] * len(accuracy)}
    halves = {"accuracy_even": accuracy[-1] - 0.1, "accuracy_odd": accuracy[-1] + 0.1}
    return {"accuracy": accuracy[-1], **halves, "loss": loss, **lists, "device": "cpu", "seconds": 7.5}


CURVES = {
    "standard": seeds.read_curves([result(0.5, 0.8), result(0.6, 0.9)]),
    "longer": seeds.read_curves([result(0.5, 0.8, 0.9), result(0.6, 0.9, 0.99)]),
    "short": seeds.read_curves([result(0.4), result(0.4, loss=None)]),
}


def test_table_has_a_row_for_each_seed_point_and_epoch() -> None:
    rows = list(seeds.rows(POINTS, CURVES, "standard"))
    assert [row[:3] for row in rows] == [
        (seed, point, epoch)
        for seed in (5, 6)
        for point, epochs in (("standard", 2), ("longer", 3), ("short", 1))
        for epoch in range(1, epochs + 1)
    ]
    of = {row[:3]: row[3:] for row in rows}
    assert of[6, "longer", 3][:2] == (0.99, 0.5)
    assert np.isnan(of[6, "longer", 3][2])  # the reference has no third epoch
    assert of[6, "longer", 2] == (0.9, 0.5, 0)
    assert of[5, "short", 1][2] == pytest.approx(-0.1)
    assert np.isnan(of[6, "short", 1][1])  # a loss that is no number


def test_result_of_the_end_alone_is_of_the_last_epoch_where_that_is_known() -> None:
    curves = {"standard": seeds.read_curves([{"accuracy": 0.9, "loss": 0.1}])}
    told: Parameters = {"seed": 1}
    assert list(seeds.rows({"standard": told}, curves, "standard")) == [(1, "standard", "", 0.9, 0.1, 0)]
    assert next(seeds.rows({"standard": told | {"epochs": 14}}, curves, "standard"))[2] == 14


def test_point_with_fewer_seeds_is_compared_at_those_that_it_has() -> None:
    curves = CURVES | {"short": seeds.read_curves([result(0.4)])}
    rows = [row[:2] for row in seeds.rows(POINTS, curves, "standard") if row[1] == "short"]
    assert rows == [(5, "short")]
    metrics = seeds.summary(POINTS, curves, "standard", SETTINGS)
    assert metrics["short"]["difference"]["n"] == 1
    assert metrics["short"]["difference"]["mean"] == pytest.approx(0.4 - 0.8)
    assert metrics["longer"]["difference"]["n"] == 2


def test_without_a_reference_nothing_is_compared() -> None:
    rows = list(seeds.rows(POINTS, CURVES, None))
    assert len(rows) == 12
    assert all(np.isnan(row[5]) for row in rows)
    assert not any("difference" in point for point in seeds.summary(POINTS, CURVES, None, SETTINGS).values())


def test_metrics_compare_the_ends_and_follow_the_epochs() -> None:
    metrics = seeds.summary(POINTS, CURVES, "standard", SETTINGS)
    assert metrics["standard"]["parameters"] == POINTS["standard"]
    assert "difference" not in metrics["standard"]
    assert "by_epoch" not in metrics["short"]
    assert metrics["standard"]["accuracy"]["mean"] == pytest.approx(0.85)
    assert metrics["longer"]["difference"]["mean"] == pytest.approx(0.095)  # each after its own last epoch
    assert metrics["longer"]["difference"]["margin"] == SETTINGS.rule.margin
    assert metrics["short"]["difference"]["n"] == 2
    assert {name: of["learned"] for name, of in metrics.items()} == {"standard": 2, "longer": 2, "short": 0}
    assert metrics["longer"]["loss_difference"]["mean"] == 0
    assert "loss_difference" not in metrics["short"]  # one of its losses is no number
    by_epoch = metrics["longer"]["by_epoch"]
    assert [each["accuracy"] for each in by_epoch.values()] == pytest.approx([0.55, 0.85, 0.945])
    assert [by_epoch[epoch]["difference"] for epoch in (1, 2)] == [0, 0]
    assert np.isnan(by_epoch[3]["difference"])
    even = {name: seeds.read_curves([result(0.9), result(0.8)]) for name in ("standard", "short")}
    even["short"] = seeds.read_curves([result(0.7), result(0.6)])
    assert seeds.summary(POINTS, even, "standard", SETTINGS)["short"]["difference"]["differs"] == YES


def test_columns_are_by_epoch_only_where_there_are_several_and_never_tell_time() -> None:
    assert list(search.columns(result(0.9))) == ["accuracy", "accuracy_even", "accuracy_odd", "loss", "device"]
    silent = {"fc1_silent_after": 0.1, "fc1_silent_before": 0.2, "conv1_silent_after": 0.3, "conv1_silent_before": 0.4}
    ordered = list(search.columns(silent | result(0.9)))  # in whatever order the storage gives them
    assert ordered == [
        *("accuracy", "accuracy_even", "accuracy_odd", "loss", "conv1_silent_before", "fc1_silent_before"),
        *("conv1_silent_after", "fc1_silent_after", "device"),
    ]
    columns = search.columns(result(0.8, 0.9))
    assert (columns["accuracy_epoch_1"], columns["accuracy_epoch_2"], columns["loss_epoch_2"]) == (0.8, 0.9, 0.5)
    assert "seconds" not in columns


def test_metrics_of_a_search() -> None:
    points: list[Parameters] = [
        {"lr": 0.1, "optimizer": "sgd"},
        {"lr": 1.0, "optimizer": "adam"},
        {"lr": 0.5, "optimizer": "sgd"},
    ]
    metrics = search.summary(points, [result(0.895), result(0.1), result(0.9)], tolerance=0.01, threshold=0.5)
    assert metrics["best"] == {"number": 2, "accuracy": 0.9, "held_out": pytest.approx(0.9), **points[2]}
    assert (metrics["completed"], metrics["learned"]) == (3, 2)
    assert metrics["good"] == {"count": 2, "lr": {"min": 0.1, "median": 0.3, "max": 0.5}, "optimizer": {"sgd": 2}}
    assert metrics["accuracies"] == {"accuracy": {"min": 0.1, "median": 0.895, "max": 0.9}}


def test_best_of_one_half_counts_with_the_other() -> None:
    halves = [(0.9, 0.5), (0.6, 0.8)]
    assert search.held_out([{"accuracy_even": even, "accuracy_odd": odd} for even, odd in halves]) == pytest.approx(
        0.55
    )


ROWS = [
    {"number": str(number), "mean": f"{number}.5", "std": "2.0", "accuracy": accuracy, "conv1_silent_after": "0.5"}
    for number, accuracy in enumerate(("0.1", "0.98", "0.5", "0.99", "0.2"))
]


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [("died", ["0", "2"]), ("nearest_died", ["4", "2"]), ("learned", ["1", "3"]), ("best", ["3", "1"])],
)
def test_follow_up_selects_the_first_of_a_kind(kind, numbers: list[str]) -> None:
    rows = follow_up.select(ROWS, params.Selection(kind=kind, first=2), threshold=0.5, standard=5)
    assert [row["number"] for row in rows] == numbers


def test_follow_up_changes_what_it_names_and_what_that_brings_along() -> None:
    def told(**change: Any) -> list[Parameters]:
        settings = SETTINGS.follow_ups["revival"].model_copy(update={"change": Change(**change), "seeds": 2})
        return follow_up.points(ROWS[:1], settings, SETTINGS)

    standard = SETTINGS.normalizations["standard"]
    first, second = told(start="standard")
    assert (first["mean"], first["std"], first["seed"], second["seed"]) == (0.5, 2, 1998, 1999)
    assert (first["start_mean"], first["start_std"]) == (*standard.mean, *standard.std)
    assert first | {"seed": 1999} == second
    assert (told(optimizer="adam")[0]["lr"], told(seed=3)[1]["seed"]) == (0.001, 4)


def test_metrics_of_a_follow_up_set_both_evaluations_side_by_side() -> None:
    results = [{"accuracy": accuracy, "conv1_silent_after": 0.1} for accuracy in (0.9, 0.1, 0.8, 0.7)]
    metrics = follow_up.summary(ROWS[:2], results, ["conv1_silent_after"], threshold=0.5, confidence=0.95)
    # Clopper and Pearson's, by their quantiles of the beta distribution.
    assert metrics["share"]["low"] == pytest.approx(stats.beta.ppf(0.025, 3, 2))
    assert metrics["share"]["high"] == pytest.approx(stats.beta.ppf(0.975, 4, 1))
    assert (metrics["trials"], metrics["evaluations"], metrics["learned"]) == (2, 4, 3)
    assert metrics["accuracy"] == {"min": 0.1, "median": 0.75, "max": 0.9}
    assert metrics["silent"] == {"sweep": {"conv1_after": 0.5}, "follow_up": {"conv1_after": 0.1}}
    assert follow_up.summary([], [], [], 0.5, 0.95)["accuracy"] is None
    all_of_8 = follow_up.summary(ROWS[:2], 8 * results[:1], [], 0.5, 0.95)["share"]
    assert all_of_8["low"] == pytest.approx(0.025 ** (1 / 8))  # at least 63%
    waking = [result(0.1, 0.1, 0.9), result(0.1, 0.9, 0.9)]
    assert follow_up.summary(ROWS[:2], waking, [], 0.5, 0.95)["learned_by_epoch"] == {1: 0, 2: 1, 3: 2}
