"""Tables of trials and what they say: points over seeds, searches, trials of the sweep again; from made-up results."""

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest
from conftest import ROOT
from scipy import stats

from stages.common import tables
from stages.common.errors import InputError
from stages.evidence import judgement
from stages.evidence.paired import NO, YES
from stages.settings import params
from stages.settings.params import Overrides, Parameters, Selection
from stages.study import design

SETTINGS = params.load(ROOT / "params.yaml")
IMAGES = 10_000
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


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def over_seeds(results: Mapping[str, list[dict]]) -> pd.DataFrame:
    """The table of points over seeds, which begin with 5, seed by seed."""
    longest = max(map(len, results.values()))
    planned = [(index, point) for index in range(longest) for point, of in results.items() if index < len(of)]
    parameters = [POINTS[point] | {"seed": 5 + index} for index, point in planned]
    tables.write("made_up", [point for _, point in planned], parameters, [results[p][index] for index, p in planned])
    return tables.read("made_up")


def searched(points: list[Parameters], results: list[dict]) -> pd.DataFrame:
    tables.write("made_up", [""] * len(points), points, results)
    return tables.read("made_up")


def comparison(results: Mapping[str, list[dict]], **rule: object) -> judgement.Metrics:
    return judgement.comparison(over_seeds(results), SETTINGS.rule.model_copy(update=rule), IMAGES)


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
    ("whole", "damaged"), [("trial.*", ""), (",device", ",other"), (",cpu\n$", ""), ("0.8", "x"), ("\n$", ",more\n")]
)
def test_what_is_no_table_is_one_line(whole: str, damaged: str) -> None:
    over_seeds(RESULTS)
    file = tables.path("made_up")
    file.write_text(re.sub(whole, damaged, file.read_text(), flags=re.S))
    for _ in range(2):
        with pytest.raises(InputError, match=r"^plots/trials/made_up\.csv: cannot be read \(.+\); `git restore "):
            tables.read("made_up")
        file.unlink(missing_ok=True)  # nor what is not there


def test_points_are_compared_at_the_seeds_that_they_share_with_a_reference_that_learned() -> None:
    metrics = comparison(RESULTS | {"short": [result(0.6)]})
    assert metrics["short"]["difference"]["n"] == 1
    assert metrics["short"]["difference"]["mean"] == pytest.approx(0.6 - 0.8)
    assert metrics["longer"]["difference"]["n"] == 2
    for metrics in (comparison(RESULTS, reference="none"), comparison(RESULTS, threshold=0.85)):  # one did not learn
        assert not any("difference" in point for point in metrics.values())


def test_difference_is_paired_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    of = {"standard": [result(0.9), result(0.8)], "short": [result(0.7), result(0.6, loss=None)]}
    metrics = comparison(of)["short"]
    assert metrics["difference"]["differs"] == YES  # without any spread
    assert "loss_difference" not in metrics  # one of its losses is no number
    assert "mixed_pairs" not in metrics
    assert comparison(of | {"short": [result(0.7, device="gpu"), result(0.6)]})["short"]["mixed_pairs"] == 1
    same = comparison({"standard": of["standard"], "short": of["standard"]})["short"]["difference"]
    assert (same["mean"], same["differs"], same["exceeds"]) == (0, NO, NO)
    monkeypatch.setitem(POINTS, "short", POINTS["short"] | {"held_out": 100})  # tested on other images
    assert "difference" not in comparison(of)["short"]


def test_best_of_one_half_counts_with_the_other() -> None:
    halves = pd.DataFrame({"accuracy_even": [0.9, 0.6], "accuracy_odd": [0.5, 0.8]})
    assert judgement.cross_half_accuracy(halves) == pytest.approx(0.55)


ACCURACY = [0.1, 0.98, 0.5, 0.99, 0.2]
SWEEP = pd.DataFrame({"trial": range(5), "mean": [0.5, 1.5, 2.5, 3.5, 4.5], "std": 2.0, "accuracy": ACCURACY})
SWEEP = SWEEP.astype({"trial": "Int64", "mean": "Float64", "std": "Float64"})  # as it is read


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [("died", [0, 2]), ("nearest_died", [4, 2]), ("learned", [1, 3]), ("best", [3, 1])],
)
def test_first_trials_of_a_kind_are_selected(kind, numbers: list[int]) -> None:
    assert design.select(SWEEP, Selection(kind=kind, threshold=0.5, first=2), standard=5)["trial"].tolist() == numbers


def test_trial_of_the_sweep_is_changed_in_what_is_named_and_what_that_brings_along() -> None:
    def again(**overrides: Any) -> list[Parameters]:
        study = SETTINGS.studies["revival"].model_copy(update={"train": Overrides(**overrides), "seeds": 2})
        planned = design.again(SETTINGS, study, SWEEP[:1])
        assert {each.point for each in planned} == {"trial 0"}
        return [each.parameters for each in planned]

    standard = SETTINGS.normalizations["standard"]
    first, second = again(start="standard")
    assert (first["mean"], first["std"], first["seed"], second["seed"]) == (0.5, 2, 1998, 1999)
    assert (first["start_mean"], first["start_std"]) == (*standard.mean, *standard.std)
    assert first | {"seed": 1999} == second
    assert (again(optimizer="adam")[0]["lr"], again(seed=3)[1]["seed"]) == (0.001, 4)


def test_trials_again_are_set_beside_the_sweep_that_they_are_of() -> None:
    points = ["trial 0", "trial 0", "trial 3", "trial 3"]
    norms = [{"mean": mean, "std": 2.0} for mean in (0.5, 0.5, 3.5, 3.5)]
    tables.write("made_up", points, norms, [result(accuracy) for accuracy in (0.9, 0.1, 0.8, 0.7)])
    table = tables.read("made_up")
    metrics = judgement.follow_up(table, SWEEP, SETTINGS.rule)
    assert (metrics["trials"], metrics["evaluations"], metrics["learned"]) == (2, 4, 3)
    assert metrics["share"]["low"] == pytest.approx(stats.beta.ppf(0.025, 3, 2))  # by the quantiles of the distribution
    assert metrics["accuracy_in_sweep"] == {"min": 0.1, "max": 0.99}
    assert not judgement.follow_up(table, SWEEP.head(3), SETTINGS.rule)  # a shorter one
    assert not judgement.follow_up(table, SWEEP.assign(mean=9.0), SETTINGS.rule)
