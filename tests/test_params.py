"""Bad input: one clear line, before any work, and nothing that was there is touched. What good input means."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import KINDS, ROOT, SETTINGS, refused, set_params
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import modify_yaml

from stages import __main__
from stages.common import tables
from stages.common.errors import InputError
from stages.common.normalization import Normalization
from stages.settings import params
from stages.settings.params import Overrides, Study
from stages.study import design
from stages.study.proposals import Search

pytestmark = pytest.mark.usefixtures("here")
SWEEP = SETTINGS.sweep.model_dump()
RGB = {"mean": 0, "std_r": 1, "std_g": 1, "std_b": 1}
STAGES = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
# They need no device, or first the results of others.
NO_DEVICE = ("download", "statistics", "contour", "figures", "fold", "judge", "report")
ENTRY = {"trials": "trials one_epoch", "figures": "figures cells"}  # stages that are run for one
STUDY = {"trial": KINDS["lenet"], "seeds": 2}
RESNET = STUDY | {"trial": KINDS["resnet"]}
PAIR = {"normalizations": ["standard", "none"]}
UNKNOWN = "'nothing': accepted here: extreme, far"
LETTERS = "must match pattern '^[a-z][a-z0-9_]*$'"

BAD = [  # of each kind of fault one
    ("norm.std", 0, "greater than 0"),
    ("norm.std", "1", "finite number"),
    ("norm.mean", 10**400, "finite"),
    ("norm.mean", [0, 0, 1], "digits are grey"),
    ("norm.men", 0.1, "accepted here: mean, std"),
    ("training", {}, "accepted here: data, normalizations, norm, train"),
    ("train.lr", 0, "a number above 0"),
    ("train.lr", {"adadelta": 1.0, "sgd": 0.1}, "one for each of adadelta, sgd, adam"),
    ("sweep.space.mean", {"low": 3, "high": -3}, "low (3) must not be above high (-3)"),
    ("sweep.space.mean", {"low": -1, "high": 1, "log": True}, "low (-1) must be above 0 where log is true"),
    ("sweep.space.std", {"low": -1, "high": 1}, "above 0"),
    ("sweep.space.lr", 0, "above 0"),
    ("sweep.space.men", 1, "must match pattern '^(mean|std|mean_r"),
    ("sweep.space.mean", "0", "must be a valid dictionary"),
    ("sweep.space.mean_r", 1, "must have mean, or mean_r, mean_g, mean_b; has mean, mean_r"),
    ("normalizations.a|b", {"mean": 0, "std": 1}, LETTERS),
    ("normalizations.own", {"mean": 0, "std": 1}, "must have another name: it is a trained network's own"),
    ("normalizations.zero_one", {"mean": [0, 0, 1], "std": 1}, "'zero_one': accepted here: extreme"),
    ("normalizations.torchvision.mean", [0.1, 0.2], "finite number, or three"),
    ("normalizations.torchvision.std", [0.1, 0.1, -1], "greater than 0"),
    ("studies.sweep", STUDY | PAIR, "must have another name: it is that of a stage"),
    ("studies.more", STUDY, "must have either points (normalizations, points, grid) or search"),
    ("studies.more", STUDY | PAIR | {"search": SWEEP}, "must have either points"),
    ("studies.more", {"trial": KINDS["lenet"]} | PAIR, "must have seeds"),
    ("studies.more", {"trial": KINDS["resnet"]} | PAIR, "must have seeds"),
    ("studies.more", {"trial": KINDS["imagenet"], "train": {"epochs": 2}} | PAIR, "train has no effect on trials of"),
    ("studies.more", STUDY | PAIR | {"imagenet": {"batch_size": 100}}, "imagenet has no effect on trials of class"),
    ("studies.more", STUDY | PAIR | {"treatments": ["as_is"]}, "treatments has no effect"),
    ("studies.more", {"trial": KINDS["resnet_trained"], "seeds": 2} | PAIR, "seeds has no effect"),
    ("studies.more", STUDY | {"search": SWEEP}, "seeds has no effect"),
    ("studies.more", RESNET | {"search": SWEEP}, "search has no effect"),
    ("studies.more", STUDY | {"points": {"none": {"border": 0}}}, "points.none.border has no effect"),
    ("studies.more", RESNET | {"points": {"none": {"lr": 1}}}, "points.none.lr has no effect"),
    ("studies.more", RESNET | {"grid": {"lr": [1], "normalization": ["none"]}}, "grid.lr has no effect"),
    ("studies.imagenet_sweep.search.space.lr", 1, "search.space.lr has no effect"),
    ("sweep.space", RGB, "one mean and one std: digits are grey"),
    ("studies.more", {"trial": KINDS["lenet"], "search": SWEEP | {"space": RGB}}, "digits are grey"),
    ("studies.more", STUDY | {"normalizations": ["own"]}, "'own': accepted here: extreme"),
    ("studies.one_epoch.trial", KINDS["lenet"] | {"code": "../lenet"}, LETTERS),
    ("studies.one_epoch.normalizations", ["nothing"], UNKNOWN),
    ("studies.one_epoch.normalizations", ["torchvision"], "'torchvision': accepted here: extreme"),
    ("studies.one_epoch.points", {"zero_one": {"mean": 0, "std": 1}}, "must have another name"),
    ("studies.one_epoch.points", {"bad": {"mean": 0}}, "a normalization by name, or mean and std"),
    ("studies.one_epoch.points", {"bad": {"lr": 0.1}}, "one_epoch.points.bad = 'bad': accepted here: "),
    ("studies.one_epoch.points", {"bad": {"normalization": "none", "epoch": 2}}, "accepted here: optimizer"),
    ("studies.one_epoch.points", {"bad": {"normalization": "none", "start": "nothing"}}, UNKNOWN),
    ("studies.one_epoch.points", {"more": {"normalization": "none", "seeds": 65}}, "must be at most seeds, 64"),
    ("studies.one_epoch.points", {"bad": {"normalization": ""}}, LETTERS),
    ("studies.revival.train.start", "", LETTERS),
    ("studies.one_epoch.grid", {"normalization": ["nothing"]}, UNKNOWN),
    ("studies.one_epoch.grid", {"normalization": []}, "at least 1 item"),
    ("studies.one_epoch.grid", {"mean": [0, 1]}, "a normalization by name, or mean and std"),
    ("studies.imagenet_channels.treatments", ["recalibrated"], "must be the first ones of as_is, recalibrated"),
    ("figures.report", {"kind": "map", "studies": ["imagenet_sweep"], "title": ""}, "it is that of a stage"),
    ("fold.normalizations", ["nothing"], UNKNOWN),
    ("rule.studies.nothing", {"margin": 0.1}, "no such study; accepted: sweep, "),
    ("rule.reference", "standrad", "no study has a point of this name"),
    ("rule.reference", "", LETTERS),
    ("report.headline", ["zero_one"], "must match pattern"),
    ("look.colormap", "rainbows", "viridis"),
    ("run.workers", 0, "auto or a whole number, 1 to 1024"),
]


@pytest.mark.parametrize(("key", "value", "accepted"), BAD, ids=lambda value: str(value).replace(" ", ""))
def test_bad_setting_is_one_line(key: str, value: object, accepted: str) -> None:
    change({key: value})
    line = refused(params.load)
    assert key.split(".")[-1].strip() in line
    assert accepted in line


def change(values: dict[str, object]) -> None:
    """Copies params.yaml, with other values."""
    shutil.copy(ROOT / "params.yaml", ".")
    set_params(Path(), values)


def edit(old: str, new: str) -> None:
    """Copies params.yaml, with another text."""
    text = (ROOT / "params.yaml").read_text()
    assert old in text
    Path("params.yaml").write_text(text.replace(old, new))


def refusal(stage: str, monkeypatch: pytest.MonkeyPatch, values: dict[str, object]) -> str:
    """The line in which a stage ends that is started with these settings; nothing in the folder is touched."""
    change(values)
    before = {path: path.is_file() and path.read_bytes() for path in Path().rglob("*")}
    monkeypatch.setattr("sys.argv", ["stages", *ENTRY.get(stage, stage).split()])
    line = refused(__main__.main)
    assert {path: path.is_file() and path.read_bytes() for path in Path().rglob("*")} == before
    return line


@pytest.mark.parametrize("stage", STAGES)
def test_stage_with_a_bad_setting_ends_before_it_is_imported(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(__main__, "import_module", None)
    assert "train.epochs = 0: must be greater than" in refusal(stage, monkeypatch, {"train.epochs": 0})


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
def test_stage_without_its_device_touches_nothing(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    line = refusal(stage, monkeypatch, {"run.device": "cuda:99"})
    assert line.startswith("params.yaml: run.device = 'cuda:99'")
    assert "accepted: auto, cpu" in line


@pytest.mark.parametrize("trial", [{"name": "Trial"}, {"code": "nothing"}])
def test_trial_without_its_class_is_refused(trial: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    line = refusal("trials", monkeypatch, {"studies.one_epoch.trial": KINDS["lenet"] | trial})
    assert re.fullmatch(r"params.yaml: trial '\w+': no such class in stages.\w+.trial", line)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trials"], "has no entry ''; accepted: .*one_epoch"),
        (["trials", "nothing"], "has no entry 'nothing'; accepted: .*one_epoch"),
        (["trials", "sweep"], "has no entry 'sweep'; accepted: .*one_epoch"),
        (["figures", "nothing"], "has no entry 'nothing'; accepted: .*cells"),
        (["sweep", "revival"], "python -m stages sweep: takes no further argument, is given 'revival'"),
    ],
)
def test_stage_without_a_known_entry_is_refused(words: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["stages", *words])
    assert re.search(said, refused(__main__.main))


# What the settings mean for trials; what they mean for those of the committed studies: test_verify.py


def test_later_overrides_count_and_bring_along_what_rests_on_them() -> None:
    result = design.trial_parameters(SETTINGS, Overrides(optimizer="sgd", epochs=3), Overrides(epochs=5))
    assert (result["lr"], result["epochs"]) == (0.01, 5)
    assert design.trial_parameters(SETTINGS, Overrides(held_out=10_000, train_images=100))["train_images"] == 100
    keys = {"points": {"one": {"normalization": "none", "seed": 7}}, "train": {"seed": 4}}
    assert design.points(SETTINGS, Study.model_validate(STUDY | keys))["one"]["seed"] == 7


def test_study_may_try_fewer_treatments() -> None:
    study = Study.model_validate({"trial": KINDS["imagenet"], "normalizations": ["low"], "treatments": ["as_is"]})
    assert design.points(SETTINGS, study, treatments=3)["low"] == {"mean": -0.5, "std": 0.2, "treated": 1}


def test_study_may_have_any_name_that_no_stage_has() -> None:
    change({"studies.points": STUDY | PAIR})
    assert params.load().studies["points"].seeds == 2


def test_point_without_a_normalization_has_that_of_its_name() -> None:
    of = {"none": {"lr": 0.2}, "also": {"normalization": "none", "lr": 0.2}}
    points = design.points(SETTINGS, Study.model_validate(STUDY | {"points": of}))
    assert points["none"] == points["also"]
    assert (points["none"]["std"], points["none"]["lr"]) == (1 / 255, 0.2)


def test_normalization_comes_back_from_the_parameters_of_a_trial() -> None:
    norm = Normalization.of([0, 0, 1], 2)
    assert norm.parameters() == {"mean_r": 0, "mean_g": 0, "mean_b": 1, "std": 2}
    assert Normalization.from_parameters({"mean_r": 0, "mean_g": 0, "mean_b": 1, "std": 2}) == norm


def test_study_may_name_a_network_of_its_own() -> None:
    lite2 = SETTINGS.for_study("imagenet_lite2").imagenet
    assert lite2 == SETTINGS.imagenet.model_copy(update={"arch": "tf_efficientnet_lite2"})
    assert SETTINGS.for_study("sweep") == SETTINGS.for_study("imagenet_sweep") == SETTINGS


def test_trials_of_a_search_share_what_its_space_does_not_name() -> None:
    space = {"mean": {"low": 0, "high": 1}, "std": 1, "lr": {"low": 0.001, "high": 1, "log": True}}
    search = params.Search.model_validate(SWEEP | {"space": space})
    result = design.trial_parameters(SETTINGS, Overrides(epochs=2))
    assert Search(search, result).fixed == {name: value for name, value in result.items() if name != "lr"}


def test_best_is_that_of_the_sweep() -> None:
    """The study `best` names the numbers of the trial that the search found."""
    best = json.loads((ROOT / "metrics/studies/sweep.json").read_text())["best"]
    point = SETTINGS.studies["best"].points["best"]
    assert (point.mean, point.std) == (best["mean"], best["std"])


def test_revival_is_of_trials_of_the_sweep_that_did_not_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    sweep = tables.read("sweep")
    failed = sweep[sweep["accuracy"] <= SETTINGS.rule.threshold].head(8)
    points = {name: (point.mean, point.std) for name, point in SETTINGS.studies["revival"].points.items()}
    assert points == {f"trial_{row.trial}": (row.mean, row.std) for row in failed.itertuples()}


# The file


def test_missing_setting_is_named() -> None:
    edit("  gamma:", "  # gamma:")
    assert refused(params.load) == "params.yaml: train.gamma: Field required"


@pytest.mark.parametrize(
    "content",
    [
        "norm: {mean: 0.1",
        "",
        "[1, 2]",
        b"norm: \xff",
        "norm: " + "9" * 5_000,
        "norm: 0x" + "F" * 5_000,
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
def test_what_is_no_params_file_is_one_line(content: str | bytes) -> None:
    Path("params.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as end:
        params.load()
    for line in str(end.value).split("\n"):
        assert line.isprintable()
        assert "params.yaml" in line
        assert len(line) < 600


def test_words_and_numbers_are_those_that_dvc_records() -> None:
    edit("shuffle: false", "shuffle: no")
    assert "train.shuffle = 'no': must be a valid boolean" in refused(params.load)
    edit("shuffle: false", "shuffle: false\n  seed: 7")
    assert "found duplicate key" in refused(params.load)
    for written, number in (("1e-05", 1e-05), ("1.5e-05", 1.5e-05), ("1E2", 100), (".5", 0.5), ("010", 10)):
        edit("  mean: 0.1307 #", f"  mean: {written} #")
        assert params.load().norm.mean == (number,)


def test_experiment_leaves_comments_and_aliases_and_numbers_that_can_be_read() -> None:
    path = Path(shutil.copy(ROOT / "params.yaml", "."))
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
