"""Bad input: one clear line, before any work, and nothing that was there is touched."""

import runpy
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Clone, set_params

from stages import params

ALL = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
STAGES = [name for name in ALL if name not in ("statistics", "report")]  # these read no settings
NO_DEVICE = ("download", "contour", "region", "folded", "revival")  # or other results before the device

BAD = [
    ("norm.std", 0, "greater than 0"),
    ("norm.std", -1.5, "greater than 0"),
    ("norm.std", "1", "number"),
    ("norm.mean", float("nan"), "finite"),
    ("norm.mean", float("inf"), "finite"),
    ("norm.men", 0.1, "accepted here: mean, std"),
    ("training", {}, "accepted here: data, norm, train"),
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
    ("initialization.space.weight_factor", 1, "must have low and high"),
    ("replicates.margin", 0, "greater than 0"),
    ("replicates.seeds", 0, "greater than or equal to 1"),
    ("replicates.normalizations", {"a": {"mean": 0, "std": 1}, "b": {"mean": 0, "std": 2}}, "one named standard"),
    (
        "longer.normalizations",
        ["standard", "nothing"],
        "'nothing' is none of replicates.normalizations: none, standard",
    ),
    ("folded.pairs", [[0, 0]], "greater than 0"),
    ("region.threshold", 1, "less than 1"),
    ("resnet.norm.std", 0, "greater than 0"),
    ("resnet.sweep.space", {"mean": {"low": 0, "high": 1}}, "std_r, std_g, std_b"),
    ("resnet.scratch.seeds", 0, "greater than or equal to 1"),
    ("contour.colormap", "rainbows", "viridis"),
    ("run.device", "gpu", "cuda"),
    ("run.device", "cuda:99", "accepted: auto, cpu"),
    ("run.workers", 0, "auto or a whole number"),
]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("key", "value", "accepted"), BAD, ids=lambda value: str(value).replace(" ", ""))
def test_bad_setting_is_one_line_and_touches_nothing(
    stage: str, key: str, value: object, accepted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value == "cuda:99" and stage in NO_DEVICE:
        pytest.skip("needs no device, or other results first")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    set_params(tmp_path, {key: value})
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "baseline.json").write_text("kept")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SystemExit) as end:
        runpy.run_module(f"stages.{stage}", run_name="__main__")

    line = str(end.value.code)
    assert "\n" not in line
    assert key.split(".")[-1] in line
    assert accepted in line
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "metrics" / "baseline.json").read_text() == "kept"


def test_grid_of_too_few_points_is_refused(tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    set_params(tmp_path, {"sweep.sampler": "grid", "sweep.grid": 4, "sweep.n_trials": 17})
    with pytest.raises(SystemExit, match=r"sweep: n_trials \(17\) must be at most 16, the points of the grid$"):
        params.load(tmp_path / "params.yaml")


def test_missing_setting_is_named(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text().replace("  gamma:", "  # gamma:"))
    with pytest.raises(SystemExit, match=r"params\.yaml: train\.gamma is missing$"):
        params.load(path)


@pytest.mark.parametrize("content", ["norm: {mean: 0.1", "", "[1, 2]"])
def test_what_is_no_params_file_is_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(SystemExit) as end:
        params.load(tmp_path / "params.yaml")
    assert "\n" not in str(end.value.code)
    assert "params.yaml" in str(end.value.code)


def test_refused_stage_leaves_its_results(project: Clone) -> None:
    before = project.results()
    project.set(norm__std=-1)
    ran = project.run("dvc", "repro", "baseline", check=False)
    assert ran.returncode != 0
    assert "params.yaml: norm.std = -1: must be greater than 0" in ran.stdout
    assert "Traceback" not in ran.stdout
    assert project.results() == before
