"""The whole pipeline in a temporary clone, on a slice of real MNIST: what people type, and what they then see."""

import ast
import csv
import functools
import json
import re
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
import vl_convert
import yaml
from conftest import PIPELINE, ROOT, SLICE, Clone, committed
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from stages.settings import params

STAGES = {name: stage.get("do", stage) for name, stage in PIPELINE["stages"].items()}
SETTINGS = yaml.safe_load((ROOT / "params.yaml").read_text())
NO_DEPENDENCY = "stages/settings/"  # it reads the settings and draws progress bars: no result depends on it
TRAINING = sorted(["sweep", *(f"trials@{name}" for name in SLICE["studies"])])
DRAWN = sorted(["contour", *(f"figures@{name}" for name in SLICE["figures"])])
# Words of the code that studies and figures have too.
VOCABULARY = {"best", "cells", "differences", "epochs", "imagenet", "law", "networks", "rates", "start"}


def ran(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def stale(project: Clone) -> list[str]:
    """The stages that `dvc repro` would run first: what it then changes may call for others."""
    return sorted(json.loads(project.dvc("status", "--json")))


def trials(project: Clone) -> list[dict[str, str]]:
    return list(csv.DictReader(project.read("plots/trials/sweep.csv").splitlines()))


def test_stages_are_files_of_their_name() -> None:
    assert {path.stem for path in (ROOT / "stages").glob("[!_]*.py")} == set(STAGES)


def test_lock_has_all_stages_and_none_that_is_gone() -> None:
    names: set[str] = set()
    settings, pipeline, locked = (yaml.safe_load(committed(path)) for path in ("params.yaml", "dvc.yaml", "dvc.lock"))
    for name, stage in pipeline["stages"].items():
        entries = settings[stage["foreach"].strip("${}")] if "foreach" in stage else []
        names |= {f"{name}@{entry}" for entry in entries} or {name}
    assert set(locked["stages"]) == names


def test_stages_declare_all_the_code_that_they_run() -> None:
    @functools.cache  # what many import is read once
    def imported(path: str) -> set[str]:
        if path.startswith(NO_DEPENDENCY):
            return set()
        paths = {path}
        tree = ast.parse((ROOT / path).read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                node.body = [ast.Pass()]
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stages"):
                module = str(node.module).replace(".", "/")
                for alias in node.names:
                    name = f"{module}/{alias.name}.py"
                    paths |= imported(name if (ROOT / name).exists() else f"{module}.py")
        return paths

    def missing_and_needless(code: set[str], deps: list[str]) -> tuple[set[str], set[str]]:
        declared = {dep for dep in deps if dep.startswith("stages") and dep != "stages/templates"}
        missing = {path for path in code if not any(path == dep or path.startswith(f"{dep}/") for dep in declared)}
        return missing, {dep for dep in declared if not any(f"{path}/".startswith(f"{dep}/") for path in code)}

    kinds = {"trials": SETTINGS["trials"].values(), "sweep": [SETTINGS["trials"]["lenet"]]}
    for name, stage in STAGES.items():
        for kind in kinds.get(name, [{}]):  # whose class is imported by its name
            code = imported(f"stages/{name}.py") | (imported(f"stages/{kind['code']}/trial.py") if kind else set())
            deps = [dep.replace("${item.trial.code}", kind.get("code", "")) for dep in stage["deps"]]
            assert missing_and_needless(code, deps) == (set(), set()), name


def test_what_a_setting_means_is_said_in_code_that_stages_depend_on(project: Clone) -> None:
    path = project.folder / "stages/study/design.py"
    code = path.read_text()
    assert ".removesuffix('.0')" in code  # in the names of a grid's points
    path.write_text(code.replace(".removesuffix('.0')", ""))
    assert stale(project) == TRAINING
    for kind in vars(params).values():  # a default that is given in stages/settings would be a meaning that none sees
        for name, field in kind.model_fields.items() if isinstance(kind, type) and issubclass(kind, BaseModel) else ():
            default = field.get_default(call_default_factory=True, validated_data={})
            assert default in (PydanticUndefined, None, [], {}) or isinstance(default, BaseModel), (kind, name)


def test_code_names_no_study_and_no_figure() -> None:
    settings, named = yaml.safe_load(committed("params.yaml")), set()
    names = {*settings["studies"], *settings["figures"]}
    for path in (ROOT / "stages").rglob("*.py"):
        constants = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
        named |= names & {value for value in constants if isinstance(value, str)}
    for path in (ROOT / "stages").rglob("*.jinja"):
        named |= names & set(re.findall(r"\w+", path.read_text()))
    assert named <= VOCABULARY


def test_every_setting_is_explained_and_read_by_a_stage() -> None:
    entries: dict[str, type[BaseModel]]
    entries = {"trials": params.Trial, "studies": params.Study, "figures": params.Figure}  # whose names are free
    for text in (ROOT / "params.yaml").read_text().split("\n\n")[1:]:
        section = re.findall(r"^([a-z]+):", text, re.M)[0]
        keys = set(re.findall(r"^ *([a-z_]+):", text, re.M)) - set(re.findall(r"^ *([a-z_]+):.*#", text, re.M))
        keys = set(entries[section].model_fields) if section in entries else keys - set(SETTINGS["studies"])
        assert keys <= set(re.findall(r"[a-z_]+", " ".join(re.findall("#.*", text)).lower())), section
    read = {param.split(".")[0] for stage in STAGES.values() for param in stage.get("params", [])}
    read |= {kind["settings"] for kind in SETTINGS["trials"].values()}
    assert read - {"${item"} == set(SETTINGS) - {"run", "trials"}  # an entry of `studies` has its trial within it


def test_finished_pipeline_is_up_to_date_whatever_the_way_of_running(project: Clone) -> None:
    project.set(run__workers="auto", run__device="cpu", run__mnist=None)
    assert "up to date" in project.dvc("status")
    assert ran(project.dvc("repro")) == []
    project.run("git", "checkout", "--quiet", "params.yaml")
    assert project.run("git", "status", "--porcelain").stdout == ""


def test_results_are_where_they_belong(finished: Clone) -> None:
    for name in ("baseline", "zero_one"):
        metrics = json.loads(finished.read(f"metrics/{name}.json"))
        assert 0 <= metrics["accuracy"] <= 1 < 10 * metrics["loss"]
        predictions = list(csv.DictReader(finished.read(f"plots/{name}/predictions.csv").splitlines()))
        right = sum(row["actual"] == row["predicted"] for row in predictions)
        assert right / len(predictions) == pytest.approx(metrics["accuracy"], abs=1e-6)
        curve = list(csv.DictReader(finished.read(f"plots/{name}/learning_curve.csv").splitlines()))
        assert int(curve[-1]["images"]) == 640
        assert float(curve[-1]["loss"]) < float(curve[0]["loss"])
        weights = torch.load(finished.folder / f"data/models/{name}.pt", weights_only=True)
        assert weights["fc1.weight"].shape == (128, 9216)
    tracked = finished.run("git", "ls-files", "data", "metrics", "plots").stdout.split()
    of_sweep = {"data/studies/sweep.sqlite3", "plots/trials/sweep.csv", "metrics/studies/sweep.json"}
    assert of_sweep | {"data/machine/baseline.json", "plots/contour.png"} <= set(tracked)
    assert not [path for path in tracked if path.startswith(("data/mnist/", "data/models/")) and "ignore" not in path]


@pytest.mark.slow
def test_experiment_with_another_mean_runs_the_baseline_only(project: Clone) -> None:
    output = project.dvc("exp", "run", "-S", "norm.mean=0")
    # The baseline is trained, what is made from it follows; no other training runs.
    assert sorted(ran(output)) == ["baseline", "fold", "report"]
    difference = project.dvc("metrics", "diff").splitlines()
    values = [json.loads(project.read("metrics/baseline.json"))[name] for name in ("accuracy", "loss")]
    assert [line.split()[:2] for line in difference[1:]] == [
        ["metrics/baseline.json", name] for name in ("accuracy", "loss")
    ]
    assert [float(line.split()[3]) for line in difference[1:]] == pytest.approx(values, abs=1e-5)
    assert max(map(len, difference)) <= 80
    assert max(map(len, project.dvc("metrics", "show").splitlines())) <= 120
    assert "norm.mean" in project.dvc("params", "diff")
    table = project.dvc("exp", "show", "--only-changed", "--drop", "[^:]*/[^:]*$")
    assert "norm.mean" in table
    assert "accuracy" in table
    assert max(map(len, table.splitlines())) <= 120


def test_forced_run_changes_nothing_even_if_the_results_name_another_machine(project: Clone) -> None:
    machine = project.folder / "data/machine/baseline.json"
    machine.write_text(machine.read_text().replace('"device": "', '"device": "another '))
    project.dvc("commit", "--force", "baseline")
    project.run("git", "commit", "--quiet", "--all", "--message=Another machine")
    before = project.results()
    assert ran(project.dvc("repro", "-f", "-s", "baseline")) == ["baseline"]
    assert project.results() == before
    assert project.run("git", "status", "--porcelain").stdout == ""


@pytest.mark.slow
def test_sweep_whose_study_is_deleted_evaluates_all_trials_again(swept: Clone) -> None:
    before = swept.results()
    assert "6/6 trials done" in swept.dvc("repro", "-fs", "sweep")
    (swept.folder / "data/studies/sweep.sqlite3").unlink()
    assert "0/6 trials done" in swept.dvc("repro", "-s", "sweep")
    assert swept.results() == before
    assert "up to date" in swept.dvc("status", "sweep")


def test_what_judges_and_draws_reruns_no_training(project: Clone) -> None:
    judged = ["contour", "judge", "report"]  # figures follow what is judged, as `stale` says
    for key, value, changed in (
        ("rule.margin", 0.003, judged),
        ("rule.threshold", 0.4, judged),
        ("look.dpi", 80, DRAWN),
        ("figures.cells.title", "Other cells", ["figures@cells", "report"]),
    ):
        before = project.read("params.yaml")
        project.set(**{key: value})
        assert stale(project) == changed, key
        (project.folder / "params.yaml").write_text(before)


def test_more_trials_are_added_and_fewer_are_shown(project: Clone) -> None:
    six = trials(project)
    output = project.dvc("exp", "run", "-S", "sweep.n_trials=7", "contour")
    assert ran(output) == ["sweep", "contour"]
    assert stale(project) == sorted(["judge", *DRAWN[1:]])
    assert trials(project)[:6] == six
    assert len(trials(project)) == 7
    project.set(sweep__n_trials=6)
    assert "6/6 trials done" in project.run(sys.executable, "-m", "stages", "sweep").stdout
    assert trials(project) == six


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_sweep_says_so_and_goes_on(sent: signal.Signals, swept: Clone) -> None:
    swept.set(sweep__n_trials=14, run__workers=2)
    sweep = swept.start(sys.executable, "-m", "stages", "sweep")
    assert sweep.stdout is not None
    next(line for line in sweep.stdout if "/14 trials (" in line)
    time.sleep(1)
    sweep.send_signal(sent)
    rest = sweep.stdout.read()
    assert sweep.wait(60) == 1
    assert "sweep: interrupted; existing results and finished trials are kept" in rest
    assert "Traceback" not in rest
    assert len(trials(swept)) == 6
    assert ran(swept.dvc("repro", "sweep")) == ["sweep"]
    assert len(trials(swept)) == 14


def test_damaged_data_stops_a_training_in_one_line(project: Clone) -> None:
    labels = project.folder / "data/mnist/train-labels-idx1-ubyte"
    content = labels.read_bytes()
    labels.unlink()
    labels.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "data/mnist/train-labels-idx1-ubyte: SHA-256" in project.refused("dvc", "repro", "-s", "-f", "baseline")


def test_page_of_plots_has_all_of_them_and_each_renders(project: Clone) -> None:
    project.set(norm__mean=0, look__width=8)
    project.run("stages", "baseline", "contour")
    for command in (("show",), ("diff", "HEAD", "workspace")):
        shown = json.loads(project.dvc("plots", *command, "--json"))
        assert not shown.get("errors")
        assert set(shown["data"]) == {
            *(next(iter(plot)) if isinstance(plot, dict) else plot for plot in PIPELINE["plots"]),
            *(f"plots/{name}.png" for name in SLICE["figures"]),
        }
        for name, plots in shown["data"].items():
            for plot in plots:
                if plot["type"] == "image":
                    assert Path(plot["url"]).read_bytes().startswith(b"\x89PNG")
                else:
                    content = plot["content"] if isinstance(plot["content"], dict) else json.loads(plot["content"])
                    picture = vl_convert.vegalite_to_svg(json.dumps(content))
                    assert "NaN" not in picture, name
                    assert picture.count("<path") > 10, name
        curves = json.dumps(shown["data"]["Learning curves"])
        assert "baseline" in curves
        assert "zero_one" in curves
    project.dvc("plots", "show")
    assert (project.folder / "dvc_plots/index.html").exists()


@pytest.mark.slow
def test_queue_of_experiments(project: Clone) -> None:
    project.dvc("exp", "run", "--queue", "-S", "norm.mean=0,0.5", "baseline")
    project.dvc("queue", "start")
    end = time.monotonic() + 200
    while (status := project.dvc("queue", "status")).count("Success") < 2:
        assert "Failed" not in status
        assert time.monotonic() < end, status
        time.sleep(5)  # asking takes a core from the one that trains
    rows = list(csv.DictReader(project.dvc("exp", "show", "--csv").splitlines()))
    queued = {row["norm.mean"]: row for row in rows if row["Experiment"]}
    assert {"0", "0.5"} <= set(queued) or {"0.0", "0.5"} <= set(queued)
    applied = queued["0.5"]["Experiment"]
    project.dvc("exp", "apply", applied)
    assert yaml.safe_load(project.read("params.yaml"))["norm"]["mean"] == 0.5
    project.dvc("exp", "diff", "HEAD", applied)


@pytest.mark.slow
def test_pushed_results_are_pulled_elsewhere(project: Clone, tmp_path: Path) -> None:
    project.dvc("remote", "add", "--default", "store", str(tmp_path / "store"))
    project.run("git", "commit", "--quiet", "--all", "--message=A remote")
    project.dvc("push")
    project.run("git", "clone", "--quiet", ".", str(tmp_path / "elsewhere"))
    elsewhere = Clone(tmp_path / "elsewhere")
    elsewhere.dvc("pull")
    assert "up to date" in elsewhere.dvc("status")
    assert ran(elsewhere.dvc("repro")) == []


@pytest.mark.slow
def test_fresh_clone_trains_but_keeps_the_committed_sweep(project: Clone, tmp_path: Path) -> None:
    project.run("git", "clone", "--quiet", ".", str(tmp_path / "fresh"))
    fresh = Clone(tmp_path / "fresh")
    assert sorted(ran(fresh.dvc("repro"))) == ["baseline", "download", "resnet", "zero_one"]
    assert (fresh.folder / "report.md").read_text() == project.read("report.md")
    assert "up to date" in fresh.dvc("status")
    assert fresh.run("git", "status", "--porcelain").stdout == ""
