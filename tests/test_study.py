"""The list of trials: the same however the study came about, and never mixed with another."""

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from optuna.trial import FrozenTrial, TrialState

from stages import fingerprint as fingerprints
from stages import params, study, training
from stages.evaluation import Evaluation
from stages.params import Params


def fingerprint(settings: Params) -> dict:
    return fingerprints.fingerprint(settings, settings.sweep, Evaluation)


@pytest.fixture
def settings() -> Params:
    return of(params.load(ROOT / "params.yaml"), n_trials=26, batch=4)


def of(settings: Params, **sweep: object) -> Params:
    return settings.model_copy(update={"sweep": settings.sweep.model_copy(update=sweep)})


def result(trial: FrozenTrial) -> dict:
    """A stand-in for a training: dead far from the data's mean, else better the nearer it is."""
    distance = abs(0.13 - trial.params["mean"]) / trial.params["std"]
    accuracy = 0.1 if distance > 3 else round(0.985 - distance / 100, 4)
    return {
        "accuracy": accuracy,
        "accuracy_even": accuracy,
        "accuracy_odd": accuracy,
        "loss": None,
        "device": "none",
        "silent_before": {},
        "silent_after": {},
    }


class KilledError(Exception):
    pass


def run(settings: Params, path: Path, order: random.Random | None = None, deaths: Iterator[int] | None = None) -> list:
    """Runs the study to its end; results come in any `order`, and the process dies after as many as `deaths` says."""
    until_death = next(deaths, None) if deaths else None
    kept = study.open_study(fingerprint(settings), path)
    for batch in study.batches(kept, settings.sweep):
        if order:
            order.shuffle(batch)
        for trial in batch:
            if until_death == 0:
                raise KilledError
            study.keep(kept, trial, result(trial))
            until_death = None if until_death is None else until_death - 1
    return table(kept)[: settings.sweep.n_trials]


def table(kept) -> list:
    return [(trial.number, trial.params, trial.value, trial.state) for trial in kept.trials]


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "grid", "gp"])
def test_interrupted_and_disordered_study_equals_the_uninterrupted_one(
    sampler: str, settings: Params, tmp_path: Path
) -> None:
    settings = of(settings, sampler=sampler)
    straight = run(settings, tmp_path / "straight.sqlite3")
    order, deaths = random.Random(1), iter([3, 0, 1, 4, 2, 5])
    while True:
        try:
            broken = run(settings, tmp_path / "broken.sqlite3", order, deaths)
            break
        except KilledError:
            pass
    assert next(deaths, None) is None
    assert broken == straight
    assert [number for number, *_ in straight] == list(range(26))
    assert {state for *_, state in straight} == {TrialState.COMPLETE}


def test_study_is_a_prefix_of_the_study_at_more_trials(settings: Params, tmp_path: Path) -> None:
    whole = run(settings, tmp_path / "whole.sqlite3")
    path = tmp_path / "grown.sqlite3"
    for n_trials in (1, 7, 8, 13):  # 4 to a batch
        assert run(of(settings, n_trials=n_trials), path) == whole[:n_trials]
    assert run(settings, path) == whole
    kept = study.open_study(fingerprint(of(settings, n_trials=7)), path)
    assert not any(study.batches(kept, of(settings, n_trials=7).sweep))  # nothing is evaluated again


def test_results_are_told_in_the_order_of_the_trials_and_lost_to_no_kill(settings: Params, tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite3"
    kept = study.open_study(fingerprint(settings), path)
    first, second, third, fourth = next(study.batches(kept, settings.sweep))
    study.keep(kept, third, result(third))
    study.keep(kept, first, result(first))
    assert [trial.state.name for trial in kept.trials] == ["COMPLETE", "RUNNING", "RUNNING", "RUNNING"]
    again = study.open_study(fingerprint(settings), path)
    assert [trial.number for trial in next(study.batches(again, settings.sweep))] == [second.number, fourth.number]
    study.keep(again, second, result(second))
    assert [trial.state.name for trial in again.trials] == ["COMPLETE", "COMPLETE", "COMPLETE", "RUNNING"]


def test_proposals_lie_in_the_space_and_learn_from_the_results(settings: Params, tmp_path: Path) -> None:
    trials = run(of(settings, n_trials=60), tmp_path / "study.sqlite3")
    assert all(-10 <= pair["mean"] <= 10 and 0.1 <= pair["std"] <= 10 for _, pair, *_ in trials)
    alive = [value > 0.5 for _, _, value, _ in trials]
    assert sum(alive[30:]) > sum(alive[:30])


def test_grid_is_regular_and_ends_where_its_points_end(settings: Params, tmp_path: Path) -> None:
    settings = of(settings, sampler="grid", grid=3, n_trials=9)
    pairs = [(pair["mean"], pair["std"]) for _, pair, *_ in run(settings, tmp_path / "study.sqlite3")]
    assert pairs == [(mean, std) for mean in (-10, 0, 10) for std in (0.1, 1, 10)]


def test_quasi_random_points_fill_the_space(settings: Params, tmp_path: Path) -> None:
    trials = run(of(settings, sampler="qmc", n_trials=16), tmp_path / "study.sqlite3")
    quarters = {(pair["mean"] > 0, pair["std"] > 1) for _, pair, *_ in trials}
    assert len(quarters) == 4
    assert len({pair["mean"] for _, pair, *_ in trials}) == 16


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("data", {"train_images": 50_000}),
        ("train", {"lr": 0.5}),
        ("train", {"threads": 2}),
        ("sweep", {"seed": 5}),
        ("sweep", {"batch": 2}),
        ("sweep", {"sampler": "random"}),
        (
            "sweep",
            {
                "space": params.Space.model_validate(
                    {"mean": {"low": 0.0, "high": 1.0}, "std": {"low": 0.1, "high": 1.0}}
                )
            },
        ),
    ],
)
def test_other_settings_start_anew_and_the_old_study_comes_back_with_its_settings(
    section: str, change: dict, settings: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, path = of(settings, n_trials=4), tmp_path / "study.sqlite3"
    old = run(settings, path)
    changed = settings.model_copy(update={section: getattr(settings, section).model_copy(update=change)})
    assert study.open_study(fingerprint(changed), path).trials == []
    assert f"starts anew: {section}" in capsys.readouterr().out
    assert table(study.open_study(fingerprint(settings), path)) == old


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("norm", {"mean": 0.0}),
        ("run", {"workers": 7, "device": "cpu"}),
        ("contour", {"dpi": 75}),
        ("sweep", {"n_trials": 5, "tolerance": 0.1}),
    ],
)
def test_settings_that_determine_no_trial_keep_the_study(
    section: str, change: dict, settings: Params, tmp_path: Path
) -> None:
    settings, path = of(settings, n_trials=4), tmp_path / "study.sqlite3"
    old = run(settings, path)
    changed = settings.model_copy(update={section: getattr(settings, section).model_copy(update=change)})
    assert table(study.open_study(fingerprint(changed), path)) == old


def test_code_of_the_evaluation_starts_anew_but_its_comments_do_not(
    settings: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(settings)
    source = Path(training.__file__).read_text()
    monkeypatch.setattr("inspect.getsource", lambda module: "# new\n" + source.replace('"""Adadelta', '"""A'))
    commented = fingerprint(settings)
    monkeypatch.setattr("inspect.getsource", lambda module: source)
    assert fingerprint(settings) == commented
    monkeypatch.setattr("inspect.getsource", lambda module: source.replace("Adadelta(", "SGD("))
    assert fingerprint(settings)["code of the evaluation"] != commented["code of the evaluation"]
    monkeypatch.undo()
    assert fingerprint(settings) == before


def test_study_that_holds_other_proposals_is_refused(settings: Params, tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite3"
    run(of(settings, n_trials=3), path)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE trial_params SET param_value = 0.5 WHERE trial_id = 2 AND param_name = 'mean'")
    kept = study.open_study(fingerprint(settings), path)
    with pytest.raises(SystemExit, match="trial 1 is"):
        list(study.batches(kept, settings.sweep))


def test_given_points_are_evaluated_once_whatever_their_order(settings: Params, tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite3"
    points = [{"mean": mean, "std": 0.5, "seed": seed} for seed in (1998, 1999) for mean in (0.0, 1.0)]
    wanted = fingerprints.fingerprint(settings, points, Evaluation)
    assert "seed" not in wanted["train"]
    kept = study.open_study(wanted, path)
    for trial in study.listed(kept, points[:3]):
        study.keep(kept, trial, result(trial))
    kept = study.open_study(wanted, path)
    later = study.listed(kept, points[::-1])
    assert [trial.params for trial in later] == points[::-1]
    assert [type(trial.params["seed"]) for trial in later] == [int] * 4
    assert [study.RESULT in trial.user_attrs for trial in later] == [False, True, True, True]
    assert len(kept.trials) == 4
