"""Bad input: one clear line, before any work, and nothing that was there is touched."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Clone, set_params
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import modify_yaml

from stages import __main__
from stages.settings import params

SEEDS = yaml.safe_load((ROOT / "params.yaml").read_text())["comparisons"]["one_epoch"]["seeds"]
STAGES = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
# They need no device, or first the results of others.
NO_DEVICE = ("download", "statistics", "contour", "curves", "map", "region", "fold", "follow_up", "report")
ENTRY = {"compare": "one_epoch", "follow_up": "revival", "search": "initialization"}  # that a stage is given

BAD = [
    ("norm.std", 0, "greater than 0"),
    ("norm.std", -1.5, "greater than 0"),
    ("norm.std", "1", "number"),
    ("norm.mean", float("nan"), "finite"),
    ("norm.mean", 10**400, "finite"),
    ("norm.mean", float("inf"), "finite"),
    ("norm.men", 0.1, "accepted here: mean, std"),
    ("training", {}, "accepted here: data, normalizations, norm, train"),
    ("data", None, "keys of its own"),
    ("data.train_images", -1, "greater than or equal to 1"),
    ("data.test_images", 10_001, "less than or equal to 10000"),
    ("train.epochs", 0, "greater than or equal to 1"),
    ("train.epochs", 1.5, "integer"),
    ("train.epochs", True, "integer"),
    ("train.lr", 0, "greater than 0"),
    ("train.shuffle", "no", "boolean"),
    ("sweep.sampler", "annealing", "'tpe'"),
    ("sweep.sampler", "cmaes", "accepted: tpe"),
    ("sweep.n_trials", -200, "greater than or equal to 1"),
    ("sweep.space.mean", {"low": 3, "high": -3}, "low (3) must be below high (-3)"),
    ("sweep.space.std", {"low": -1, "high": 1, "log": True}, "above 0"),
    ("sweep.space.std", {"low": -1, "high": 1}, "above 0"),
    ("sweep.space.std", 1, "must have low and high"),
    ("sweep.space.weight_factor", {"low": 0, "high": 1}, "above 0"),
    ("sweep.space.men", 1, "accepted here: mean, std"),
    ("sweep.space.optimizer", ["sgd", "adam"], "needs space.lr too"),
    ("sweep.space.init", ["random"], "'he_normal'"),
    ("train.optimizer", "rmsprop", "'adadelta', 'sgd' or 'adam'"),
    ("train.lr", {"adadelta": 1.0, "sgd": 0.1}, "one for each of adadelta, sgd, adam: no adam"),
    ("train.lr", {"adadelta": 1.0, "sgd": 0.1, "adam": 0}, "greater than 0"),
    ("train.momentum", 1, "less than 1"),
    ("train.seed", 2**60, "less than 4294967296"),
    ("train.lr", 1e300, "at most 1e6"),
    ("train.threads", 10**9, "less than or equal to 1024"),
    ("train.batch_size", 10**12, "less than or equal to 60000"),
    ("norm.mean", -1e308, "at most 1e6"),
    ("sweep.batch", 10**6, "less than or equal to 10000"),
    ("sweep.grid", 10**6, "less than or equal to 1000"),
    ("run.device", "cuda:99999999999", "N a number"),
    ("run.workers", 10**6, "1 to 1024"),
    ("train.init", "xavier", "'zero_bias'"),
    ("searches.initialization.space.weight_factor", 1, "bias_factor must have low and high, or be lists"),
    (
        "searches",
        {"sweep": yaml.safe_load((ROOT / "params.yaml").read_text())["sweep"]},
        "it is that of the stage sweep",
    ),
    ("rule.margin", 0, "greater than 0"),
    ("comparisons.one_epoch.seeds", 0, "greater than or equal to 1"),
    ("comparisons.one_epoch.normalizations", ["zero_one"], "must have standard, its reference, and another"),
    ("comparisons.one_epoch.normalizations", ["standard", "nothing"], "none of normalizations: bytes, extreme, far"),
    ("comparisons.one_epoch.points", {"zero_one": {"mean": 0, "std": 1}}, "must have another name"),
    ("comparisons.one_epoch.points", {"bad": {"mean": 0}}, "a normalization by name, or mean and std"),
    ("comparisons.one_epoch.points", {"bad": {"normalization": "none", "epoch": 2}}, "accepted here: train_images"),
    (
        "comparisons.one_epoch.points",
        {"more": {"normalization": "none", "seeds": SEEDS + 1}},
        f"must be at most seeds ({SEEDS})",
    ),
    ("comparisons.one_epoch.grid", {"normalization": ["nothing"]}, "none of normalizations: bytes, extreme, far"),
    ("comparisons.one_epoch.grid", {"mean": [0, 1]}, "a normalization by name, or mean and std"),
    ("comparisons.plateau.grid.std", [1, 0], "greater than 0"),
    ("comparisons.epochs.reference", "none", "must be standard: a picture shows differences from it"),
    ("comparisons.boundary.sides.above", [1, 2], "below and above must have a mean for each std"),
    ("comparisons.rates_sgd.reference", "standard", "must have standard, its reference, and another"),
    ("comparisons.one_epoch.train", {"start": "nothing"}, "none of normalizations: bytes, extreme, far"),
    ("comparisons.Two words", {"normalizations": ["standard", "none"], "seeds": 1}, "pattern"),
    ("follow_ups.revival.trials.kind", "dead", "'died'"),
    ("normalizations.standard.std", 0, "greater than 0"),
    ("normalizations.zero_one", {"mean": [0, 0, 1], "std": 1}, "digits are grey"),
    ("norm.mean", [0, 0, 1], "digits are grey"),
    ("fold.normalizations", ["nothing"], "none of normalizations: bytes, extreme, far"),
    ("region.threshold", 1, "less than 1"),
    ("resnet.norm.std", 0, "greater than 0"),
    ("resnet.norm.mean", [0.1, 0.1, 0.2], "digits are grey"),
    ("resnet.others", [], "at least 1"),
    ("resnet.others", ["torchvision"], "digits are grey"),
    ("resnet.train.momentum", 1, "less than 1"),
    ("resnet.fine_tune.schedule", "cosine", "'constant' or 'linear'"),
    ("resnet.scratch.seeds", 0, "greater than or equal to 1"),
    ("resnet.scratch.margin", 0, "greater than 0"),
    ("resnet.scratch.normalizations", ["half", "zero_one"], "must have one named standard"),
    ("resnet.scratch.points", {"zero_one": {"normalization": "extreme"}}, "must have another name"),
    ("resnet.scratch.points", {"bad": {"normalization": "nothing"}}, "none of normalizations: "),
    ("resnet.scratch.points", {"bad": {"normalization": "extreme", "recalibrated": 1}}, "greater than or equal to 2"),
    ("imagenet.arch", None, "valid string"),
    ("imagenet.weights", 1, "valid string"),
    ("imagenet.data", None, "valid string"),
    ("imagenet.crop", 0.9, "accepted here: arch, weights, data"),
    ("imagenet.test_images", 3, "greater than or equal to 4"),
    ("imagenet.batch_size", 1, "greater than or equal to 2"),
    ("imagenet.others", ["zero_two"], "'zero_two' is none of normalizations: "),
    ("imagenet.sweep.space", {"mean": {"low": 0, "high": 1}}, "std_r, std_g, std_b"),
    ("imagenet.sweep.space.std", 0.5, "must have low and high"),
    ("imagenet.channels.space.std_g", {"low": 0, "high": 1}, "above 0"),
    ("imagenet.channels.space.mean", 0.5, "must have mean, or mean_r, mean_g, mean_b"),
    ("normalizations.torchvision.mean", [0.1, 0.2], "finite number, or three"),
    ("normalizations.torchvision.mean", [0.1, 0.2, float("nan")], "finite number, or three"),
    ("normalizations.torchvision.mean", True, "finite number, or three"),
    ("normalizations.torchvision.std", [0.1, 0.1, -1], "greater than 0"),
    ("run.imagenet", 1, "valid string"),
    ("contour.colormap", "rainbows", "viridis"),
    ("run.device", "gpu", "cuda"),
    ("run.workers", 0, "auto or a whole number"),
]


@pytest.mark.parametrize(("key", "value", "accepted"), BAD, ids=lambda value: str(value).replace(" ", ""))
def test_bad_setting_is_one_line(key: str, value: object, accepted: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    set_params(tmp_path, {key: value})
    with pytest.raises(SystemExit) as end:
        params.load(tmp_path / "params.yaml")
    line = str(end.value.code)
    assert "\n" not in line
    assert key.split(".")[-1] in line
    assert accepted in line


def refusal(stage: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: object) -> str:
    """The line in which a stage ends that is started in a folder with changed settings; nothing there is touched."""
    shutil.copy(ROOT / "params.yaml", folder)
    set_params(folder, {key.replace("__", "."): value for key, value in changes.items()})
    (folder / "metrics").mkdir()
    (folder / "metrics" / "baseline.json").write_text("kept")
    before = {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["stages", stage, *([ENTRY[stage]] if stage in ENTRY else [])])
    with pytest.raises(SystemExit) as end:
        __main__.main()
    assert {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")} == before
    return str(end.value.code)


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
sys.argv = ["stages", "compare", "nothing"]
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


def test_grid_of_too_few_points_is_refused(tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    set_params(tmp_path, {"sweep.sampler": "grid", "sweep.grid": 4, "sweep.n_trials": 17})
    with pytest.raises(SystemExit, match=r"sweep: n_trials \(17\) must be at most 16, the points of the grid \(`git"):
        params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize("stage", ENTRY)
@pytest.mark.parametrize("name", [None, "nothing"])
def test_stage_without_a_known_entry_is_refused(stage: str, name: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["stages", stage, *([name] if name else [])])
    with pytest.raises(SystemExit, match=rf"has no entry '{name or ''}'; accepted: .*{ENTRY[stage]}"):
        __main__.main()


@pytest.mark.parametrize(("section", "name"), params.RESTED_ON)
def test_entry_that_other_stages_rest_on_is_missed(section: str, name: str, tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    del content[section][name]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(SystemExit, match=f"{section}.{name} is missing: curves, map, region or report rest on it"):
        params.load(tmp_path / "params.yaml")


def test_stage_of_no_entry_takes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["stages", "sweep", "revival"])
    with pytest.raises(SystemExit, match="python -m stages sweep: takes no further argument, is given 'revival'"):
        __main__.main()


def test_trial_is_told_what_train_says_but_for_what_is_changed() -> None:
    settings = params.load(ROOT / "params.yaml")
    told = settings.told()
    assert (told["optimizer"], told["lr"], told["seed"], told["train_images"]) == ("adadelta", 1.0, 1998, 60_000)
    assert not {"momentum", "threads", "start"} & set(told)  # without effect, or no part of the trial
    changed = settings.told(params.Change(optimizer="sgd", epochs=3), params.Change(epochs=5, start="zero_one"))
    assert changed == told | {
        "optimizer": "sgd", "lr": 0.01, "momentum": 0.9, "epochs": 5, "start_mean": 0.0, "start_std": 1.0
    }  # fmt: skip
    assert settings.told(params.Change(lr=0.5))["lr"] == 0.5
    assert settings.told(params.Change(held_out=10_000)) == told | {"held_out": 10_000, "train_images": 50_000}
    assert settings.told(params.Change(held_out=10_000, train_images=100))["train_images"] == 100


def test_one_learning_rate_is_for_every_optimizer(tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    set_params(tmp_path, {"train.lr": 0.5, "train.optimizer": "adam"})
    assert params.load(tmp_path / "params.yaml").told()["lr"] == 0.5


def test_points_of_a_comparison_have_all_that_a_trial_is_told() -> None:
    settings = params.load(ROOT / "params.yaml")
    comparison = params.Comparison.model_validate(
        {
            "normalizations": ["standard"],
            "points": {"sgd": {"normalization": "none", "lr": 0.1}, "numbers": {"mean": 5, "std": 0.5, "seed": 7}},
            "seeds": 1,
            "train": {"optimizer": "sgd"},
        }
    )
    points = settings.points(comparison)
    sgd = settings.told(comparison.train)
    assert points["standard"] == {"mean": 0.1307, "std": 0.3081} | sgd
    assert points["sgd"] == {"mean": 0.0, "std": 1 / 255} | sgd | {"lr": 0.1}
    assert points["numbers"] == {"mean": 5.0, "std": 0.5} | sgd | {"seed": 7}


def comparison(**keys: object) -> tuple[params.Comparison, dict[str, params.Parameters]]:
    given = params.Comparison.model_validate({"seeds": 4} | keys)
    return given, params.load(ROOT / "params.yaml").points(given)


def test_grid_has_all_combinations_and_no_point_twice() -> None:
    _, points = comparison(normalizations=["standard"], grid={"mean": [0, 0.1307], "std": [0.3081, 1]})
    assert list(points) == ["standard", "mean 0, std 0.3081", "mean 0, std 1", "mean 0.1307, std 1"]
    assert (points["mean 0, std 1"]["mean"], points["mean 0, std 1"]["std"]) == (0, 1)
    _, rates = comparison(reference=None, grid={"lr": [0.1, 1], "normalization": ["none"], "init": ["zero_bias"]})
    assert [point["lr"] for point in rates.values()] == [0.1, 1]
    assert all(point["std"] == 1 / 255 and point["init"] == "zero_bias" for point in rates.values())


def test_sides_approach_the_means_at_which_training_fails() -> None:
    sides = {"mean": 0.1, "factors": [0.5, 1], "std": [1, 3], "below": [-0.9, -1.9], "above": [2.1, 4.1]}
    _, points = comparison(reference=None, sides=sides)
    expected = [(-0.4, 1), (-0.9, 1), (-0.9, 3), (-1.9, 3), (1.1, 1), (2.1, 1), (2.1, 3), (4.1, 3)]
    assert [(point["mean"], point["std"]) for point in points.values()] == expected


def test_boundary_is_sought_on_the_same_sides_by_all_its_entries() -> None:
    comparisons = params.load(ROOT / "params.yaml").comparisons
    near, *others = (comparisons[name].sides for name in ("boundary", "boundary_wide", "boundary_full"))
    assert near
    for sides in others:
        assert sides == near.model_copy(update={"factors": sides and sides.factors})


def test_best_is_that_of_the_sweep() -> None:
    """The comparison `best` names the numbers of the trial that the search found."""
    best = json.loads((ROOT / "metrics/sweep.json").read_text())["best"]
    point = params.load(ROOT / "params.yaml").comparisons["best"].points["best"]
    assert (point.mean, point.std) == (best["mean"], best["std"])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_rate_is_the_best_on_held_out_images(optimizer: str) -> None:
    rates = json.loads((ROOT / f"metrics/rates_{optimizer}.json").read_text())
    tried = [each for each in rates.values() if isinstance(each, dict)]
    settings = params.load(ROOT / "params.yaml")
    points = settings.points(settings.comparisons[f"optimizer_{optimizer}"])
    for told in points.values():
        at = {name: told[name] for name in ("mean", "std")}
        accuracy = {
            each["parameters"]["lr"]: each["accuracy"]["mean"]
            for each in tried
            if {name: each["parameters"][name] for name in at} == pytest.approx(at, abs=1e-6)
        }
        chosen = [each["lr"] for each in points.values() if {name: each[name] for name in at} == at]
        assert max(accuracy.values()) > settings.region.threshold  # where no rate learns, none is the best
        assert max(accuracy, key=lambda rate: accuracy[rate]) in chosen


def test_trials_of_a_search_are_told_what_its_space_does_not_name() -> None:
    sweep = params.load(ROOT / "params.yaml").sweep
    settings = params.load(ROOT / "params.yaml")
    assert settings.fixed(sweep) == settings.told()
    space = sweep.space.model_copy(
        update={"optimizer": ["sgd", "adam"], "lr": params.Interval(low=0.001, high=1, log=True)}
    )
    fixed = settings.fixed(sweep.model_copy(update={"space": space, "train": params.Change(epochs=2)}))
    assert not {"lr", "optimizer"} & set(fixed)
    assert (fixed["momentum"], fixed["epochs"]) == (0.9, 2)


def test_file_has_the_form_that_dvc_leaves_it_in(tmp_path: Path) -> None:
    path = Path(shutil.copy(ROOT / "params.yaml", tmp_path))
    # What `dvc exp run -S` does: an experiment's setting is one changed line, and no comment is lost.
    apply_overrides(str(path), [f"norm.mean={params.load(path).norm.mean[0]}"])
    assert path.read_text() == (ROOT / "params.yaml").read_text()


def test_missing_setting_is_named(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text().replace("  gamma:", "  # gamma:"))
    with pytest.raises(SystemExit, match=r"params\.yaml: train\.gamma is missing \(`git restore"):
        params.load(path)


@pytest.mark.parametrize(
    "content",
    [
        "norm: {mean: 0.1",
        "",
        "[1, 2]",
        b"norm: \xff",
        "norm: " + "9" * 5_000,
        "norm: 2026-13-45",
        "norm: !!int abc",
        "norm: " + "[" * 1_000,
        "norm: &a [*a]",
        "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10) if n else 'x'}]\n" for n in range(12)),  # a billion x
        'norm: "\\e[31m\\n\\0"',
        "norm: " + "x" * 100_000,
    ],
)
def test_what_is_no_params_file_is_one_line(content: str | bytes, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SystemExit) as end:
        params.load(tmp_path / "params.yaml")
    for line in str(end.value.code).split("\n"):
        assert line.isprintable()
        assert "params.yaml" in line
        assert len(line) < 600


def test_small_number_is_read_as_dvc_writes_it(tmp_path: Path) -> None:
    path = Path(shutil.copy(ROOT / "params.yaml", tmp_path))
    with modify_yaml(path) as content:
        content["train"]["lr"] = 0.00001
    assert "1e-05" in path.read_text()
    assert params.load(path).told()["lr"] == 1e-05


def test_refused_stage_leaves_its_results(project: Clone) -> None:
    before = project.results()
    project.set(norm__std=-1)
    ran = project.run("dvc", "repro", "baseline", check=False)
    assert ran.returncode != 0
    assert "params.yaml: norm.std = -1: must be greater than 0" in ran.stdout
    assert "Traceback" not in ran.stdout
    assert project.results() == before
