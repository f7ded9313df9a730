"""The list of trials: the same however the study came about, and never mixed with another."""

import random
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from conftest import ROOT, SETTINGS, full_disk, refused
from optuna.trial import FrozenTrial, TrialState

from stages.common.errors import InputError
from stages.lenet.trial import LenetTrial
from stages.settings import params
from stages.settings.params import Parameters, Params
from stages.study import design, store
from stages.study.design import Planned
from stages.study.fingerprint import fingerprint
from stages.study.proposals import Points, Search
from stages.study.store import StudyFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a study is kept."""
    return tmp_path / "study.sqlite3"


def changed(settings: Params, section: str, values: dict[str, object]) -> Params:
    return settings.model_copy(update={section: getattr(settings, section).model_copy(update=values)})


def of(settings: Params, **sweep: object) -> Params:
    return changed(settings, "sweep", sweep)


USUAL = of(SETTINGS, n_trials=26, batch=4)


def plan_of(settings: Params = USUAL) -> Search:
    return Search(settings.sweep, design.trial_parameters(settings))


def opened(settings: Params, path: Path) -> StudyFile:
    plan = plan_of(settings)
    file = store.open_study(path, fingerprint(settings, plan.determinants, LenetTrial))
    next(plan.batches(file.study), None)  # proposes: refused where the study has other trials
    return file


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
    file, plan = opened(settings, path), plan_of(settings)
    for batch in plan.batches(file.study):
        if order:
            order.shuffle(batch)
        for trial in batch:
            store.start(file.study, trial)
            if until_death == 0:
                raise KilledError
            file.keep(trial, result(trial))
            until_death = None if until_death is None else until_death - 1
    return table(file.study)[: settings.sweep.n_trials]


def table(study: optuna.Study) -> list:
    return [(trial.number, trial.params, trial.value, trial.state) for trial in study.trials]


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp"])
def test_interrupted_and_disordered_study_equals_the_uninterrupted_one(sampler: str, tmp_path: Path) -> None:
    settings = of(USUAL, sampler=sampler)
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


def test_study_is_a_prefix_of_the_study_at_more_trials(path: Path) -> None:
    whole = run(USUAL, path.with_stem("whole"))
    for n_trials in (1, 7, 8, 13):  # 4 to a batch
        assert run(of(USUAL, n_trials=n_trials), path) == whole[:n_trials]
    assert run(USUAL, path) == whole
    fewer = of(USUAL, n_trials=7)
    assert not any(plan_of(fewer).batches(opened(fewer, path).study))  # nothing is evaluated again


def test_results_are_kept_at_once_and_lost_to_no_kill(path: Path) -> None:
    file = opened(USUAL, path)
    first, second, third, fourth = next(plan_of().batches(file.study))
    for trial in (first, third, fourth):
        store.start(file.study, trial)
    assert not path.exists()  # a study without any result changes nothing on disk
    file.keep(third, result(third))
    file.keep(first, result(first))

    again = opened(USUAL, path).study  # after a kill
    assert [trial.state.name for trial in again.trials] == ["COMPLETE", "WAITING", "COMPLETE", "RUNNING"]
    assert [trial.number for trial in next(plan_of().batches(again))] == [second.number, fourth.number]
    killed = again.trials[3].datetime_start
    store.start(again, fourth)
    assert killed != again.trials[3].datetime_start  # the time of the evaluation that counts


def test_users_of_optuna_find_what_they_expect(path: Path) -> None:
    run(of(USUAL, n_trials=2), path)
    study = optuna.load_study(storage=f"sqlite:///{path}", study_name="study")
    assert study.metric_names == ["accuracy"]
    frame = study.trials_dataframe()
    attributes = {f"user_attrs_{name}" for name in ("accuracy", "loss", "loss_by_epoch", "seconds", "device")}
    columns = {"number", "value_accuracy", "datetime_start", "duration", "params_mean", "params_std"}
    assert columns | attributes <= set(frame.columns)
    assert (frame["duration"].dt.total_seconds() < 5).all()
    assert frame["value_accuracy"].tolist() == frame["user_attrs_accuracy"].tolist()
    kept = [{name: value for name, value in result(trial).items() if name != "seconds"} for trial in study.trials]
    assert store.results(study.trials) == kept


ATTRIBUTE = "trial_user_attributes SET value_json ="


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (f"UPDATE {ATTRIBUTE} '0.99' WHERE trial_id = 2 AND key = 'accuracy'", "trial 1 is not as it was kept"),
        (f"UPDATE {ATTRIBUTE} '[0.5' WHERE trial_id = 2 AND key = 'loss_by_epoch'", "the file is damaged: Expecting"),
        ("DELETE FROM trial_user_attributes WHERE trial_id = 2 AND key = 'digest'", "trial 1 is not as it was kept"),
        ("UPDATE trials SET state = 'FAIL' WHERE trial_id = 2", "trial 1 is not as it was kept"),
        ("UPDATE trials SET number = 4 - number", "trial 0 is not as it was kept"),
        ("UPDATE trial_values SET value = 0.99 WHERE trial_id = 2", "trial 1 is not as it was kept"),
        ("UPDATE trial_params SET param_value = 0.5 WHERE trial_id = 2", "trial 1 is not as it was kept"),
        ("DELETE FROM trials WHERE trial_id = 2", "the file is damaged: foreign_key_check finds"),
        ("DELETE FROM study_user_attributes", "what determines its trials"),
        ("UPDATE study_directions SET direction = 'MINIMIZE'", "what determines its trials"),
        ("DROP TABLE trials", "the file is damaged: "),
    ],
)
def test_study_that_was_changed_on_disk_is_refused(change: str, said: str, path: Path) -> None:
    settings = of(USUAL, batch=8)
    with pytest.raises(KilledError):
        run(settings, path, deaths=iter([5]))  # two more are proposed
    with sqlite3.connect(path) as database:
        database.execute(change)
    content = path.read_bytes()
    assert re.search(rf"study\.sqlite3: {said}.*; after `mv .*`git restore ", refused(opened, settings, path))
    assert path.read_bytes() == content


def test_file_that_cannot_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        store.load(tmp_path)


def test_damaged_file_is_refused_and_left_as_it_is(path: Path) -> None:
    settings, chance, lines = of(USUAL, n_trials=6), random.Random(4), []
    whole = run(settings, path)
    content = path.read_bytes()
    damaged = [b"", b"no database" * 1000, content[: len(content) // 2], content[:4096], content[:5], bytes(8192)]
    for _ in range(30):
        flipped = bytearray(content)
        for place in chance.sample(range(len(content)), 20):
            flipped[place] ^= 1 << chance.randrange(8)
        damaged.append(bytes(flipped))
    for each in damaged:
        path.write_bytes(each)
        try:
            assert table(opened(settings, path).study) == whole  # what was hit holds nothing
        except InputError as error:
            lines.append(str(error))
        assert path.read_bytes() == each
    assert len(lines) > 20
    line = re.compile(r".*/study\.sqlite3: .+; after `mv .+`, `git restore .+` gets .+")
    assert all(map(line.fullmatch, lines))


def test_proposals_lie_in_the_space_and_learn_from_the_results(path: Path) -> None:
    trials = run(of(USUAL, n_trials=60), path)
    assert all(-10 <= pair["mean"] <= 10 and 0.1 <= pair["std"] <= 10 for _, pair, *_ in trials)
    alive = [value > 0.5 for _, _, value, _ in trials]
    assert sum(alive[30:]) > sum(alive[:30])


@pytest.mark.parametrize("sampler", ["random", "qmc"])
def test_points_fill_the_space_and_none_comes_twice(sampler: str, tmp_path: Path) -> None:
    trials = run(of(USUAL, sampler=sampler, n_trials=16), tmp_path / "study.sqlite3")
    points = [tuple(pair.values()) for _, pair, *_ in trials]  # of four batches
    assert len({(mean > 0, std > 1) for mean, std in points}) == 4
    assert len({mean for mean, _ in points}) == 16


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("data", {"train_images": 50_000}),
        ("train", {"threads": 2}),
        ("train", {"optimizer": "sgd"}),
        ("sweep", {"batch": 2}),
        ("sweep", {"space": {name: params.Interval(low=0.1, high=1.0) for name in ("mean", "std")}}),
    ],
)
def test_other_settings_start_from_scratch_and_the_old_study_comes_back(section, change, path: Path, capsys) -> None:
    settings = of(USUAL, n_trials=4)
    old = run(settings, path)
    run(changed(settings, section, change), path)
    said, key = capsys.readouterr().out, next(iter(change))
    assert re.search(rf"starts from scratch: .*(data|train|search)\.{key}\b.* changed; its first result will ren", said)
    assert ("data.train_images" in said) == ("train_images" in change)
    assert re.search(r"study\.sqlite3: the old study is now .*/study-[0-9a-f]{8}\.sqlite3\n", said)
    assert run(settings, path) == old
    assert table(store.load(path).study) == old
    assert len(list(path.parent.iterdir())) == 2  # the other one is renamed


def test_settings_that_determine_no_trial_keep_the_study(path: Path) -> None:
    settings = of(USUAL, n_trials=4)
    old = run(settings, path)
    changes: dict[str, dict[str, object]] = {
        "norm": {"mean": 0.0},
        "rule": {"margin": 0.1},
        "run": {"workers": 7, "device": "cpu"},
        "train": {"momentum": 0.5, "lr": {"adadelta": 1.0, "sgd": 0.5, "adam": 0.5}},  # of other optimizers
        "sweep": {"n_trials": 5},
    }
    for section, change in changes.items():
        assert table(opened(changed(settings, section, change), path).study)[:4] == old
    renamed = path.rename(path.with_stem("another"))  # as its entry in params.yaml
    assert table(opened(settings, renamed).study) == old


def test_no_study_that_was_moved_aside_is_ever_overwritten(path: Path) -> None:
    def seeded(seed: int, n_trials: int) -> Params:
        return of(changed(USUAL, "train", {"seed": seed}), n_trials=n_trials)

    run(seeded(1998, 8), path)
    committed = path.read_bytes()
    longer = run(seeded(1998, 12), path)
    run(seeded(5, 4), path)
    path.write_bytes(committed)  # as git restore does
    run(seeded(7, 4), path)
    path.unlink()
    assert run(seeded(1998, 12), path) == longer


def test_study_that_cannot_begin_or_be_written_changes_nothing(path: Path) -> None:
    run(of(USUAL, n_trials=4), path)
    content = path.read_bytes()
    other = of(USUAL, seed=7)
    next(plan_of(other).batches(opened(other, path).study))  # proposed, and then there is no scheduler
    for settings in (other, USUAL):
        file = opened(settings, path)
        trial, *_ = next(plan_of(settings).batches(file.study))
        store.start(file.study, trial)
        with full_disk(8192), pytest.raises(OSError, match=r"study\.sqlite3") as full:
            file.keep(trial, result(trial))
        assert full.value.filename == str(path)
        assert [(each.name, each.read_bytes()) for each in path.parent.iterdir()] == [("study.sqlite3", content)]


def test_given_points_are_evaluated_once_whatever_their_order(path: Path) -> None:
    settings = USUAL
    points: list[Parameters] = [
        {"mean": 0.0, "std": 0.5, "shuffle": False, "optimizer": optimizer, "seed": seed}
        for seed in (1, 2)
        for optimizer in ("sgd", "adam")
    ]

    def plan_of(*of: Parameters) -> tuple[Points, StudyFile]:
        plan = Points([Planned("", parameters) for parameters in of])
        return plan, store.open_study(path, fingerprint(settings, plan.determinants, LenetTrial))

    plan, file = plan_of(*points[:3], points[0])  # two of the same parameters are one trial
    (batch,) = plan.batches(file.study)
    assert len(batch) == 3
    for trial in batch:
        store.start(file.study, trial)
        file.keep(trial, result(trial))
    assert [trial.number for trial in plan.trials(file.study)] == [0, 1, 2, 0]
    assert not any(plan.batches(file.study))
    plan, file = plan_of(*points[::-1])
    assert [trial.params for (trial,) in plan.batches(file.study)] == [points[3]]
    later = plan.trials(file.study)
    assert [trial.params for trial in later] == points[::-1]
    assert [type(trial.params["seed"]) for trial in later] == [int] * 4
    assert [store.has_result(trial) for trial in later] == [False, True, True, True]
    settings = changed(settings, "train", {"epochs": 3, "seed": 4})  # but each point has all parameters of its trial
    assert len(plan_of()[1].study.trials) == 3


HOLDER = """
import sys, time
from pathlib import Path
from stages.study import store

with store.hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_study_is_held_by_one_run_and_free_as_soon_as_that_is_dead_or_failed(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, path], cwd=ROOT, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=f"study.sqlite3: locked by process {holder.pid};"), store.hold(path):
            pass
        holder.kill()
    for _ in range(2):
        with pytest.raises(KilledError), store.hold(path):
            raise KilledError
