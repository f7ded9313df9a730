"""The list of trials: the same however the study came about, and never mixed with another."""

import json
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from conftest import ROOT
from optuna.trial import FrozenTrial, TrialState

from stages.lenet.trial import LenetTrial
from stages.settings import params
from stages.settings.params import InputError, Params
from stages.study import store
from stages.study.fingerprint import fingerprint
from stages.study.proposals import Points, Search


@pytest.fixture
def settings() -> Params:
    return of(params.load(ROOT / "params.yaml"), n_trials=26, batch=4)


def of(settings: Params, **sweep: object) -> Params:
    return settings.model_copy(update={"sweep": settings.sweep.model_copy(update=sweep)})


def plan_of(settings: Params) -> Search:
    return Search(settings.sweep, settings.fixed(settings.sweep))


def opened(settings: Params, path: Path, **how: bool) -> optuna.Study:
    return store.open_study(fingerprint(settings, plan_of(settings).determinants(), LenetTrial), path, **how)


def result(trial: FrozenTrial) -> dict:
    """A stand-in for a training run: dead far from the data's mean, else better the nearer it is."""
    distance = abs(0.13 - trial.params["mean"]) / trial.params["std"]
    accuracy = 0.1 if distance > 3 else round(0.985 - distance / 100, 4)
    return {"accuracy": accuracy, "loss": None, "loss_by_epoch": [0.5, None], "device": "none", "seconds": 1.5}


class KilledError(Exception):
    pass


def run(settings: Params, path: Path, order: random.Random | None = None, deaths: Iterator[int] | None = None) -> list:
    """Runs the study to its end; results come in any `order`, and the process dies after as many as `deaths` says."""
    until_death = next(deaths, None) if deaths else None
    study, plan = opened(settings, path), plan_of(settings)
    store.complete(study)
    for batch in plan.batches(study):
        if order:
            order.shuffle(batch)
        for trial in batch:
            store.start(study, trial)
            if until_death == 0:
                raise KilledError
            store.keep(study, trial, result(trial))
            until_death = None if until_death is None else until_death - 1
    return table(study)[: settings.sweep.n_trials]


def table(study: optuna.Study) -> list:
    return [(trial.number, trial.params, trial.value, trial.state) for trial in study.trials]


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
    fewer = of(settings, n_trials=7)
    assert not any(plan_of(fewer).batches(opened(fewer, path)))  # nothing is evaluated again


def test_results_are_kept_at_once_and_lost_to_no_kill(settings: Params, tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite3"
    study = opened(settings, path)
    first, second, third, fourth = next(plan_of(settings).batches(study))
    assert {trial.state for trial in study.trials} == {TrialState.WAITING}
    for trial in (first, third, fourth):
        store.start(study, trial)
    store.keep(study, third, result(third))
    store.keep(study, first, result(first))
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "WAITING", "COMPLETE", "RUNNING"]

    again = opened(settings, path)  # after a kill
    store.complete(again)
    assert [trial.number for trial in next(plan_of(settings).batches(again))] == [second.number, fourth.number]
    killed = again.trials[3].datetime_start
    store.start(again, fourth)
    assert killed != again.trials[3].datetime_start  # the time of the evaluation that counts
    store.keep(again, fourth, result(fourth))
    assert [trial.state.name for trial in again.trials] == ["COMPLETE", "WAITING", "COMPLETE", "COMPLETE"]


def test_result_that_was_written_whole_before_a_kill_completes_its_trial(settings: Params, tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite3"
    study = opened(settings, path)
    first, second, *_ = next(plan_of(settings).batches(study))
    for trial, attributes in ((first, None), (second, 2)):  # of the second, a part of the result
        store.start(study, trial)
        digest = store._digest([trial.params, store._without_time(result(trial))])
        for name, value in list((result(trial) | {store.DIGEST: digest}).items())[:attributes]:
            optuna.trial.Trial(study, trial._trial_id).set_user_attr(name, value)
    again = opened(settings, path)
    store.complete(again)
    assert [trial.state.name for trial in again.trials[:2]] == ["COMPLETE", "RUNNING"]
    assert again.trials[0].value == result(first)["accuracy"]
    assert second.number in [trial.number for trial in next(plan_of(settings).batches(again))]


def test_users_of_optuna_find_what_they_expect(settings: Params, tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite3"
    run(of(settings, n_trials=2), path)
    study = optuna.load_study(storage=f"sqlite:///{path}", study_name="study")
    assert study.metric_names == ["accuracy"]
    frame = study.trials_dataframe()
    attributes = {f"user_attrs_{name}" for name in ("accuracy", "loss", "loss_by_epoch", "seconds", "device")}
    columns = {"number", "value_accuracy", "datetime_start", "duration", "params_mean", "params_std"}
    assert columns | attributes <= set(frame.columns)
    assert (frame["duration"].dt.total_seconds() < 5).all()
    assert frame["value_accuracy"].tolist() == frame["user_attrs_accuracy"].tolist()


def test_results_are_those_that_were_kept_without_their_seconds(settings: Params, tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite3"
    run(of(settings, n_trials=4), path)
    trials = opened(settings, path).trials
    expected = [{name: value for name, value in result(trial).items() if name != "seconds"} for trial in trials]
    assert store.results(trials) == expected


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE trial_user_attributes SET value_json = '0.99' WHERE trial_id = 2 AND key = 'accuracy'",
        "UPDATE trial_user_attributes SET value_json = 'null' WHERE trial_id = 2 AND key = 'loss_by_epoch'",
        "DELETE FROM trial_user_attributes WHERE trial_id = 2 AND key = 'device'",
        "DELETE FROM trial_user_attributes WHERE trial_id = 2 AND key = 'digest'",
        "UPDATE trials SET state = 'FAIL' WHERE trial_id = 2",
        "UPDATE trial_values SET value = 0.99 WHERE trial_id = 2",
        "UPDATE trial_params SET param_value = 0.5 WHERE trial_id = 2 AND param_name = 'mean'",
    ],
)
def test_result_that_was_changed_on_disk_is_refused(change: str, settings: Params, tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite3"
    run(of(settings, n_trials=3), path)
    with sqlite3.connect(path) as database:
        database.execute(change)
    with pytest.raises(InputError, match=r"study\.sqlite3: trial 1 is not as it was kept: .*git restore"):
        opened(settings, path)


def test_study_that_holds_other_proposals_is_refused(settings: Params, tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite3"
    study, settings = opened(settings, path), of(settings, n_trials=3)
    next(plan_of(settings).batches(study))
    with sqlite3.connect(path) as database:
        database.execute("UPDATE trial_params SET param_value = 0.5 WHERE trial_id = 2 AND param_name = 'mean'")
    with pytest.raises(SystemExit, match="trial 1 is"):
        list(plan_of(settings).batches(opened(settings, path)))


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


@pytest.mark.parametrize(("sampler", "n_trials"), [("tpe", 8), ("random", 8), ("qmc", 8), ("grid", 8)])
def test_choices_are_searched_like_numbers(sampler: str, n_trials: int, settings: Params, tmp_path: Path) -> None:
    choices = {"mean": 0, "std": 1, "optimizer": ["adadelta", "adam"], "init": ["default", "he_normal"]}
    space = params.LenetSpace.model_validate(choices | {"lr": {"low": 0.001, "high": 1, "log": True}})
    told = run(of(settings, sampler=sampler, n_trials=n_trials, space=space, grid=2), tmp_path / "study.sqlite3")
    assert {pair["optimizer"] for _, pair, *_ in told} == {"adadelta", "adam"}
    assert {pair["init"] for _, pair, *_ in told} == {"default", "he_normal"}
    assert all(0.001 <= pair["lr"] <= 1 for _, pair, *_ in told)


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("data", {"train_images": 50_000}),
        ("data", {"test_images": 5_000}),
        ("train", {"lr": {"adadelta": 0.5, "sgd": 0.01, "adam": 0.001}}),
        ("train", {"threads": 2}),
        ("train", {"optimizer": "sgd"}),
        ("train", {"init": "he_normal"}),
        ("sweep", {"seed": 5}),
        ("sweep", {"batch": 2}),
        ("sweep", {"sampler": "random"}),
        ("sweep", {"train": params.Change(epochs=2)}),
        (
            "sweep",
            {
                "space": params.LenetSpace.model_validate(
                    {"mean": {"low": 0.0, "high": 1.0}, "std": {"low": 0.1, "high": 1.0}}
                )
            },
        ),
    ],
)
def test_other_settings_start_from_scratch_and_the_old_study_comes_back_with_its_settings(
    section: str, change: dict, settings: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, path = of(settings, n_trials=4), tmp_path / "study.sqlite3"
    old = run(settings, path)
    changed = settings.model_copy(update={section: getattr(settings, section).model_copy(update=change)})
    assert opened(changed, path).trials == []
    assert "starts from scratch: " in capsys.readouterr().out
    assert table(opened(settings, path)) == old


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("norm", {"mean": 0.0}),
        ("run", {"workers": 7, "device": "cpu"}),
        ("contour", {"dpi": 75}),
        ("train", {"momentum": 0.5, "lr": {"adadelta": 1.0, "sgd": 0.5, "adam": 0.5}}),  # of other optimizers
        ("sweep", {"n_trials": 5, "tolerance": 0.1}),
    ],
)
def test_settings_that_determine_no_trial_keep_the_study(
    section: str, change: dict, settings: Params, tmp_path: Path
) -> None:
    settings, path = of(settings, n_trials=4), tmp_path / "study.sqlite3"
    old = run(settings, path)
    changed = settings.model_copy(update={section: getattr(settings, section).model_copy(update=change)})
    assert table(opened(changed, path)) == old


def test_no_study_that_was_moved_aside_is_ever_overwritten(settings: Params, tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite3"

    def seeded(seed: int, n_trials: int) -> Params:
        train = settings.train.model_copy(update={"seed": seed})
        return of(settings.model_copy(update={"train": train}), n_trials=n_trials)

    run(seeded(1998, 8), path)
    committed = path.read_bytes()
    longer = run(seeded(1998, 12), path)
    run(seeded(5, 4), path)
    path.write_bytes(committed)  # as git restore does
    run(seeded(7, 4), path)
    path.unlink()
    assert run(seeded(1998, 12), path) == longer

    for _ in range(3):  # asked to start from scratch, and killed
        trials = len(opened(seeded(1998, 12), path, from_scratch=True).trials)
        assert trials == 0
    lengths = [store._length(aside, "study") for aside in tmp_path.glob("study-replaced*.sqlite3")]
    assert sorted(lengths) == [0, 0, 12]


def test_given_points_are_evaluated_once_whatever_their_order(settings: Params, tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite3"
    points = [
        {"mean": mean, "std": 0.5, "optimizer": optimizer, "shuffle": False, "seed": seed}
        for seed in (1998, 1999)
        for mean, optimizer in ((0.0, "sgd"), (1.0, "adam"))
    ]

    def study_of(plan: Points) -> optuna.Study:
        return store.open_study(fingerprint(settings, plan.determinants(), LenetTrial), path)

    study = study_of(Points(points[:3]))
    (batch,) = Points(points[:3]).batches(study)
    for trial in batch:
        store.start(study, trial)
        store.keep(study, trial, result(trial))
    backward = Points(points[::-1])
    study = study_of(backward)
    assert [trial.params for (trial,) in backward.batches(study)] == [points[3]]
    later = backward.trials(study)
    assert [trial.params for trial in later] == points[::-1]
    assert [type(trial.params["seed"]) for trial in later] == [int] * 4
    assert [store.has_result(trial) for trial in later] == [False, True, True, True]
    assert len(study.trials) == 4


def test_points_of_other_settings_lie_in_the_same_study(settings: Params) -> None:
    changed = settings.model_copy(update={"train": settings.train.model_copy(update={"epochs": 3, "seed": 4})})
    first, second = (fingerprint(each, Points([]).determinants(), LenetTrial) for each in (settings, changed))
    assert first == second  # each point says all that its trial is told
    assert json.loads(json.dumps(first)) == first


HOLDER = """
import sys, time
from pathlib import Path
from stages.study import store

with store.hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_study_is_held_by_one_run_and_free_as_soon_as_that_is_dead(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite3"
    with subprocess.Popen([sys.executable, "-c", HOLDER, path], cwd=ROOT, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=f"study.sqlite3: another run is at it: process {holder.pid};"):  # noqa: SIM117
            with store.hold(path):
                pass
        holder.kill()
        holder.wait()
        for _ in range(2):  # and free again after a run that failed
            with pytest.raises(KilledError), store.hold(path):
                raise KilledError
