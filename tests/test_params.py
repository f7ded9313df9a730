"""Bad input: one clear line, before any work, and nothing that was there is touched. What good input means."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import KINDS, ROOT, Clone, set_params
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import modify_yaml

from stages import __main__
from stages.common.errors import InputError
from stages.common.normalization import Normalization
from stages.settings import params
from stages.settings.params import Overrides, Parameters, Study, Sweep
from stages.study import design

SETTINGS = params.load(ROOT / "params.yaml")
SWEEP = SETTINGS.sweep.model_dump(exclude={"train"})
STAGES = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
# They need no device, or first the results of others.
NO_DEVICE = ("download", "statistics", "contour", "figures", "fold", "judge", "report")
ENTRY = {"trials": "trials one_epoch", "figures": "figures cells"}  # stages that are run for one
STUDY = {"trial": KINDS["lenet"], "seeds": 2}
PAIR = {"normalizations": ["standard", "none"]}
AGAIN = {"sweep_trials": {"kind": "died", "threshold": 0.5, "first": 2}}
UNKNOWN = "'nothing' is none of normalizations: extreme, far"

BAD = [  # of each kind of fault one
    ("norm.std", 0, "greater than 0"),
    ("norm.std", "1", "finite number"),
    ("norm.mean", 10**400, "finite"),
    ("norm.mean", [0, 0, 1], "digits are grey"),
    ("norm.men", 0.1, "accepted here: mean, std"),
    ("training", {}, "accepted here: data, normalizations, norm, train"),
    ("data", None, "keys of its own"),
    ("train.optimizer", "rmsprop", "'adadelta', 'sgd' or 'adam'"),
    ("train.lr", {"adadelta": 1.0, "sgd": 0.1}, "one for each optimizer: adam is missing"),
    ("sweep.space.mean", {"low": 3, "high": -3}, "low (3) must not be above high (-3)"),
    ("sweep.space.mean", {"low": -1, "high": 1, "log": True}, "low (-1) must be above 0 where log is true"),
    ("sweep.space.std", {"low": -1, "high": 1}, "above 0"),
    ("sweep.space.lr", 0, "above 0"),
    ("sweep.space.men", 1, "mean|std|mean_r"),
    ("sweep.space.mean", "0", "must hold keys of its own"),
    ("sweep.space.mean_r", 1, "must have mean, or mean_r, mean_g, mean_b; has mean, mean_r"),
    ("sweep.train", {"start": "nothing"}, UNKNOWN),
    ("normalizations.a|b", {"mean": 0, "std": 1}, "pattern"),
    ("normalizations.own", {"mean": 0, "std": 1}, "must have another name: it is a trained network's own"),
    ("normalizations.zero_one", {"mean": [0, 0, 1], "std": 1}, "digits are grey"),
    ("normalizations.torchvision.mean", [0.1, 0.2], "finite number, or three"),
    ("normalizations.torchvision.std", [0.1, 0.1, -1], "greater than 0"),
    ("studies.b\n", STUDY | PAIR, "pattern"),
    ("studies.sweep", STUDY | PAIR, "must have another name: it is that of a stage"),
    ("studies.more", STUDY, "must have points (normalizations, points, grid), or search, or sweep_trials"),
    ("studies.more", STUDY | PAIR | AGAIN, "or sweep_trials: one of them"),
    ("studies.more", STUDY | AGAIN, "must have sweep_trials and a trial that reads plots/trials/sweep.csv, or neither"),
    ("studies.more", {"trial": KINDS["lenet"]} | PAIR, "must have seeds"),
    ("studies.more", {"trial": KINDS["imagenet"], "train": {"epochs": 2}} | PAIR, "for LeNet alone"),
    ("studies.more", STUDY | PAIR | {"imagenet": {"batch_size": 100}}, "for published networks alone"),
    ("studies.more", STUDY | {"normalizations": ["own"]}, "'own' is none of normalizations"),
    ("studies.one_epoch.trial", "lenet", "keys of its own"),
    ("studies.one_epoch.trial", KINDS["lenet"] | {"code": "../lenet"}, "pattern"),
    ("studies.one_epoch.normalizations", ["nothing"], UNKNOWN),
    ("studies.one_epoch.normalizations", ["torchvision"], "digits are grey"),
    ("studies.one_epoch.points", {"zero_one": {"mean": 0, "std": 1}}, "must have another name"),
    ("studies.one_epoch.points", {"bad": {"mean": 0}}, "a normalization by name, or mean and std"),
    ("studies.one_epoch.points", {"bad": {"lr": 0.1}}, "one_epoch.points.bad: 'bad' is none of normalizations: "),
    ("studies.one_epoch.points", {"bad": {"normalization": "none", "epoch": 2}}, "accepted here: train_images"),
    ("studies.one_epoch.points", {"bad": {"normalization": "none", "start": "nothing"}}, UNKNOWN),
    ("studies.one_epoch.points", {"more": {"normalization": "none", "seeds": 65}}, "must be at most seeds, 64"),
    ("studies.one_epoch.grid", {"normalization": ["nothing"]}, UNKNOWN),
    ("studies.one_epoch.grid", {"mean": [0, 1]}, "a normalization by name, or mean and std"),
    ("studies.imagenet_treatments.normalizations", ["nothing"], UNKNOWN),
    ("studies.imagenet_channels.treatments", ["recalibrated"], "must be the first ones of as_is, recalibrated"),
    ("figures.report", {"kind": "map", "studies": ["imagenet_sweep"], "title": ""}, "it is that of a stage"),
    ("fold.normalizations", ["nothing"], UNKNOWN),
    ("rule.studies.nothing", {"margin": 0.1}, "no such study; accepted: sweep, "),
    ("report.headline", ["zero_one"], "pattern"),
    ("look.colormap", "rainbows", "viridis"),
    ("run.workers", 0, "auto or a whole number, 1 to 1024"),
]


@pytest.mark.parametrize(("key", "value", "accepted"), BAD, ids=lambda value: str(value).replace(" ", ""))
def test_bad_setting_is_one_line(key: str, value: object, accepted: str, tmp_path: Path) -> None:
    line = refused(changed(tmp_path, {key: value}))
    assert "\n" not in line
    assert key.split(".")[-1].strip() in line
    assert accepted in line


def changed(folder: Path, values: dict[str, object]) -> Path:
    """A copy of params.yaml with other values."""
    shutil.copy(ROOT / "params.yaml", folder)
    set_params(folder, values)
    return folder / "params.yaml"


def refused(path: Path) -> str:
    with pytest.raises(InputError) as end:
        params.load(path)
    return str(end.value)


def refusal(stage: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: object) -> str:
    """The line in which a stage ends that is started in a folder with changed settings; nothing there is touched."""
    changed(folder, {key.replace("__", "."): value for key, value in changes.items()})
    before = {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["stages", *ENTRY.get(stage, stage).split()])
    with pytest.raises(InputError) as end:
        __main__.main()
    assert {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")} == before
    return str(end.value)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_with_a_bad_setting_ends_before_it_is_imported(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(__main__, "import_module", None)
    assert "train.epochs = 0: must be greater than" in refusal(stage, tmp_path, monkeypatch, train__epochs=0)


def test_settings_are_checked_without_torch() -> None:
    check = """
import sys
from stages import __main__
from stages.common.normalization import Normalization
sys.argv = ["stages", "trials", "nothing"]
try:
    __main__.main()
finally:
    print([*sys.modules])
"""
    loaded = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True).stdout
    assert "'stages.settings.params'" in loaded
    assert "'torch'" not in loaded


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage not in NO_DEVICE])
def test_stage_without_its_device_touches_nothing(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = refusal(stage, tmp_path, monkeypatch, run__device="cuda:99")
    assert line.startswith("params.yaml: run.device = 'cuda:99'")
    assert "accepted: auto, cpu" in line


@pytest.mark.parametrize("trial", [{"name": "Trial"}, {"code": "nothing"}])
def test_trial_without_its_class_is_refused(trial: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = refusal("trials", tmp_path, monkeypatch, studies__one_epoch__trial=KINDS["lenet"] | trial)
    assert re.fullmatch(r"params.yaml: trial '\w+': no such class in stages.\w+.trial", line)


def test_follow_up_of_no_trial_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plots/trials").mkdir(parents=True)
    row = "trial,point,mean,std,epoch,accuracy,loss,device\n0,,0.5,1.0,1,0.9,0.1,cpu\n"  # it did not die
    (tmp_path / "plots/trials/sweep.csv").write_text(row)
    line = refusal("trials revival", tmp_path, monkeypatch)
    assert line == "params.yaml: studies.revival.sweep_trials: the sweep has no such trial"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trials"], "has no entry ''; accepted: .*one_epoch"),
        (["trials", "nothing"], "has no entry 'nothing'; accepted: .*one_epoch"),
        (["figures", "nothing"], "has no entry 'nothing'; accepted: .*cells"),
        (["sweep", "revival"], "python -m stages sweep: takes no further argument, is given 'revival'"),
    ],
)
def test_stage_without_a_known_entry_is_refused(words: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["stages", *words])
    with pytest.raises(InputError, match=said):
        __main__.main()


# What the settings mean for trials


def test_trial_has_what_train_says_but_for_overrides() -> None:
    told = design.trial_parameters(SETTINGS)
    assert (told["optimizer"], told["lr"], told["seed"], told["train_images"]) == ("adadelta", 1.0, 1998, 60_000)
    assert not {"momentum", "threads", "start"} & set(told)  # without effect, or no part of the trial
    sgd = design.trial_parameters(SETTINGS, Overrides(optimizer="sgd", epochs=3), Overrides(epochs=5, start="zero_one"))
    assert sgd == told | {
        "optimizer": "sgd", "lr": 0.01, "momentum": 0.9, "epochs": 5, "start_mean": 0.0, "start_std": 1.0
    }  # fmt: skip
    assert design.trial_parameters(SETTINGS, Overrides(lr=0.5))["lr"] == 0.5
    held_out = design.trial_parameters(SETTINGS, Overrides(held_out=10_000))
    assert held_out == told | {"held_out": 10_000, "train_images": 50_000}
    assert design.trial_parameters(SETTINGS, Overrides(held_out=10_000, train_images=100))["train_images"] == 100


def study_of(**keys: object) -> Study:
    return Study.model_validate(STUDY | keys)


def points(**keys: object) -> dict[str, Parameters]:
    return design.points(SETTINGS, study_of(**keys))


def test_points_have_all_parameters_of_their_trials() -> None:
    of = points(
        normalizations=["standard"],
        points={
            "none": {"lr": 0.2},
            "sgd": {"normalization": "none", "lr": 0.1},
            "numbers": {"mean": 5, "std": 0.5, "seed": 7},
        },
        train={"optimizer": "sgd"},
    )
    sgd = design.trial_parameters(SETTINGS, Overrides(optimizer="sgd"))
    assert of["standard"] == {"mean": 0.1307, "std": 0.3081} | sgd
    assert of["none"] == {"mean": 0.0, "std": 1 / 255} | sgd | {"lr": 0.2}
    assert of["sgd"] == of["none"] | {"lr": 0.1}
    assert of["numbers"] == {"mean": 5.0, "std": 0.5} | sgd | {"seed": 7}


def test_grid_has_all_combinations_and_no_point_twice() -> None:
    cells = points(normalizations=["standard"], grid={"mean": [0, 0.1307], "std": [0.3081, 1]})
    assert list(cells) == ["standard", "mean 0, std 0.3081", "mean 0, std 1", "mean 0.1307, std 1"]
    assert (cells["mean 0, std 1"]["mean"], cells["mean 0, std 1"]["std"]) == (0, 1)
    rates = points(grid={"lr": [0.1, 1], "normalization": ["none"]})
    assert [(point["lr"], point["std"]) for point in rates.values()] == [(0.1, 1 / 255), (1, 1 / 255)]
    means = [0.1307, 0.1307 + 1e-12, 1e-12]  # which agree in many digits
    assert [point["mean"] for point in points(grid={"mean": means, "std": [1]}).values()] == means


def test_seeds_follow_each_other_and_a_point_may_have_fewer() -> None:
    study = study_of(normalizations=["none"], points={"one": {"mean": 5, "std": 1, "seeds": 1}}, train={"seed": 4})
    planned = design.over_seeds(SETTINGS, study, design.points(SETTINGS, study))
    assert [(each.point, each.parameters["seed"]) for each in planned] == [("none", 4), ("one", 4), ("none", 5)]


def test_network_that_is_treated_has_its_own_normalization() -> None:
    own = Normalization.of([0, 0, 1], 2)
    study = Study.model_validate({"trial": KINDS["imagenet"], "normalizations": ["own", "low"]})
    of = design.points(SETTINGS, study, own, treatments=3)
    assert of["own"] == {"mean_r": 0, "mean_g": 0, "mean_b": 1, "std": 2, "treated": 3}
    assert [each.parameters for each in design.over_seeds(SETTINGS, study, of)] == list(of.values())
    one = design.points(SETTINGS, study.model_copy(update={"treatments": ["as_is"]}), own, treatments=3)
    assert one["low"] == {"mean": -0.5, "std": 0.2, "treated": 1}


def test_study_may_name_a_network_of_its_own() -> None:
    lite2 = SETTINGS.of("imagenet_lite2").imagenet
    assert lite2 == SETTINGS.imagenet.model_copy(update={"arch": "tf_efficientnet_lite2"})
    assert SETTINGS.of("sweep") == SETTINGS.of("imagenet_sweep") == SETTINGS


def test_trials_of_a_search_share_what_its_space_does_not_name() -> None:
    space = {"mean": {"low": 0, "high": 1}, "std": 1, "lr": {"low": 0.001, "high": 1, "log": True}}
    search = Sweep.model_validate(SETTINGS.sweep.model_dump() | {"space": space, "train": {"epochs": 2}})
    told = design.trial_parameters(SETTINGS, Overrides(epochs=2))
    assert design.fixed(SETTINGS, search) == {name: value for name, value in told.items() if name != "lr"}


def test_best_is_that_of_the_sweep() -> None:
    """The study `best` names the numbers of the trial that the search found."""
    best = json.loads((ROOT / "metrics/studies/sweep.json").read_text())["best"]
    point = SETTINGS.studies["best"].points["best"]
    assert (point.mean, point.std) == (best["mean"], best["std"])


# The file


def test_missing_setting_is_named(tmp_path: Path) -> None:
    assert refused(edited(tmp_path, "  gamma:", "  # gamma:")).endswith("params.yaml: train.gamma is missing")
    assert "normalizations.standard is missing: " in refused(edited(tmp_path, "  standard: {", "  # standard: {"))


def edited(folder: Path, old: str, new: str) -> Path:
    """A copy of params.yaml with another text."""
    text = (ROOT / "params.yaml").read_text()
    assert old in text
    path = folder / "params.yaml"
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize(
    "content",
    [
        "norm: {mean: 0.1",
        "",
        "[1, 2]",
        b"norm: \xff",
        "norm: " + "9" * 5_000,
        "norm: 2026-13-45",
        "norm: " + "[" * 1_000,
        "norm: &a {mean: *a}",
        "? [norm]\n: 1",
        "norm: {mean: 0, mean: 1}",
        "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10) if n else 'x'}]\n" for n in range(12)),  # a billion x
        'norm: "\\e[31m\\n\\0"',
        "norm: " + "x" * 100_000,
    ],
)
def test_what_is_no_params_file_is_one_line(content: str | bytes, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    for line in refused(tmp_path / "params.yaml").split("\n"):
        assert line.isprintable()
        assert "params.yaml" in line
        assert len(line) < 600


def test_numbers_are_read_as_dvc_writes_them(tmp_path: Path) -> None:
    for written, number in (("1e-05", 1e-05), ("1.5e-05", 1.5e-05), ("1E2", 100), (".5", 0.5)):
        settings = params.load(edited(tmp_path, "  mean: 0.1307 #", f"  mean: {written} #"))
        assert settings.norm.mean == (number,)


def test_experiment_leaves_comments_and_aliases_and_numbers_that_can_be_read(tmp_path: Path) -> None:
    path = Path(shutil.copy(ROOT / "params.yaml", tmp_path))
    with modify_yaml(path) as content:
        content["train"]["lr"] = 0.00001
    apply_overrides(str(path), ["studies.best.seeds=3"])  # what `dvc exp run -S` does
    assert "lr: 1e-05" in path.read_text()
    for kept in ("#.*", r"trial: \*\w+"):
        assert re.findall(kept, path.read_text()) == re.findall(kept, (ROOT / "params.yaml").read_text())
    settings = params.load(path)
    assert design.trial_parameters(settings)["lr"] == 1e-05
    best = SETTINGS.studies["best"].model_copy(update={"seeds": 3})
    assert settings.studies == SETTINGS.studies | {"best": best}


def test_refused_stage_leaves_its_results(project: Clone) -> None:
    before = project.results()
    project.set(norm__std=-1)
    ran = project.run("dvc", "repro", "baseline", check=False)
    assert ran.returncode != 0
    assert "params.yaml: norm.std = -1: must be greater than 0" in ran.stdout
    assert "Traceback" not in ran.stdout
    assert project.results() == before
