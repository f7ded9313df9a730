"""What separates learning from dying: found where it is known, priced on unseen trials, whole on any study."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from sklearn.metrics import roc_auc_score

from stages import region
from stages.evidence import boundary
from stages.evidence.boundary import ADJUSTED, Boundary, Pixels, quantities
from stages.evidence.plateau import OverSeeds, best_by_luck
from stages.settings import params

PIXELS = Pixels(0.13066, 0.308108)
MU, SIGMA = PIXELS
SETTINGS = params.Region(threshold=0.5, plateau=0.005, folds=5, seed=1)
RANDOM = np.random.default_rng(5)
MEAN, STD = RANDOM.uniform(-10, 10, 60), np.exp(RANDOM.uniform(np.log(0.1), np.log(10), 60))
POINTS = np.column_stack([MEAN, STD])
SINGLE = [name for name in quantities(POINTS, PIXELS) if name != ADJUSTED]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundary, "BOOTSTRAPS", 50)
    monkeypatch.setattr(boundary, "REPEATS", 2)


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, mean, std, accuracy, standard) -> dict:
    """The stage's metrics for a table of trials."""
    shutil.copy(ROOT / "params.yaml", folder)
    for name in ("plots", "metrics"):
        (folder / name).mkdir()
    rows = [f"{n},{m},{s},{a}" for n, (m, s, a) in enumerate(zip(mean, std, accuracy, strict=True))]
    (folder / "plots/sweep.csv").write_text("\n".join(["number,mean,std,accuracy", *rows]))
    (folder / "metrics/statistics.json").write_text(json.dumps({"train": {"mean": MU, "std": SIGMA}}))
    (folder / "metrics/one_epoch.json").write_text(json.dumps({"standard": {"accuracy": standard}}))
    monkeypatch.chdir(folder)
    region.main(params.load())
    return json.loads((folder / "metrics/region.json").read_text())


@pytest.mark.parametrize("name", SINGLE)
def test_quantity_that_decides_is_found(name: str) -> None:
    # Means near the pixels' own: far from them, offset and root mean square are one.
    points = POINTS / (10, 1)
    scores = quantities(points, PIXELS)[name][:, 0]
    result = boundary.separate(points, scores > np.median(scores), PIXELS, SETTINGS)
    assert result["separating"]["quantity"] == name
    assert (result["quantities"][name]["auc"], result["quantities"][name]["training_error"]) == (1, 0)
    assert result["quantities"][name]["cross_validated_error"] < 0.05
    assert result["separating"]["nested_error"] < 0.1


def test_influence_of_std_and_side_is_found() -> None:
    random = np.random.default_rng(11)
    mean, std = random.uniform(-10, 10, 400), np.exp(random.uniform(np.log(0.1), np.log(10), 400))
    quantity = np.abs(MU - mean) / SIGMA * (std / SIGMA) ** -0.5 * np.where(mean > MU, 1.5, 1)
    dead = quantity > np.median(quantity)
    result = boundary.separate(np.column_stack([mean, std]), dead, PIXELS, SETTINGS)
    fitted = result["quantities"][ADJUSTED]
    assert result["separating"]["quantity"] == ADJUSTED
    assert fitted["std_exponent"]["value"] == pytest.approx(-0.5, abs=0.1)
    assert fitted["side_factor"]["value"] == pytest.approx(1.5, abs=0.25)
    assert fitted["std_exponent"]["low"] <= -0.5 <= fitted["std_exponent"]["high"] < 0


def test_what_separates_nothing_gets_the_error_of_guessing() -> None:
    dead = np.random.default_rng(3).permutation(np.arange(60) < 30)
    result = boundary.separate(POINTS, dead, PIXELS, SETTINGS)
    assert result["separating"]["nested_error"] > 0.3


@pytest.mark.parametrize("name", SINGLE)
def test_threshold_and_auc_are_those_of_brute_force(name: str) -> None:
    offset = quantities(POINTS, PIXELS)["relative_offset"][:, 0]
    dead = offset + np.random.default_rng(6).normal(0, 0.5, 60) > 2
    rule = Boundary(PIXELS, name).fit(POINTS, dead)
    scores = rule.scores(POINTS)
    errors = [((scores > cut) != dead).sum() for cut in np.sort(scores)[:-1]]
    assert (rule.predict(POINTS) != dead).sum() == min(errors)
    pairs = scores[dead][:, None] > scores[~dead][None, :]
    assert boundary.separate(POINTS, dead, PIXELS, SETTINGS)["quantities"][name]["auc"] == pytest.approx(pairs.mean())
    assert roc_auc_score(dead, rule.decision_function(POINTS)) == pytest.approx(pairs.mean())


def test_threshold_never_parts_trials_of_the_same_value() -> None:
    scores, dead = np.array([1.0, 2, 2, 2, 3]), np.array([False, False, True, True, True])
    assert boundary.fewest_errors(scores, dead) == 1.5


def test_area_is_that_of_the_strip_of_means() -> None:
    cells = boundary.plane(params.load(ROOT / "params.yaml").sweep.space).reshape(-1, 2)
    dead = np.abs(MU - MEAN) / SIGMA > 12
    result = boundary.extent(Boundary(PIXELS).fit(POINTS, dead), POINTS, dead, cells, seed=1)
    assert result["area"]["value"] == pytest.approx(2 * result["threshold"]["value"] * SIGMA / 20, abs=0.0015)
    assert result["band"]["low"] <= 12 <= result["band"]["high"]
    assert result["band"]["trials"] == 0
    assert result["area"]["low"] <= result["area"]["value"] <= result["area"]["high"]


@pytest.mark.parametrize("seed", range(20))
def test_threshold_lies_within_the_band_of_doubt_and_all_beyond_it_is_certain(seed: int) -> None:
    random = np.random.default_rng(seed)
    offset = np.abs(MU - MEAN) / SIGMA
    dead = offset * np.exp(random.normal(0, random.uniform(0, 2), 60)) > 12
    rule = Boundary(PIXELS).fit(POINTS, dead)
    result = boundary.extent(rule, POINTS, dead, POINTS, seed=1)
    band, scores = result["band"], np.exp(rule.scores(POINTS))
    assert band["low"] <= result["threshold"]["value"] <= band["high"]
    assert not dead[scores < band["low"] * (1 - 1e-9)].any()
    assert dead[scores > band["high"] * (1 + 1e-9)].all()
    assert band["area_low"] <= result["area"]["value"] <= band["area_high"] + 1 / 60


def test_best_of_equally_good_trials_is_what_luck_explains() -> None:
    accuracy = np.random.default_rng(2).normal(0.98, 0.001, 50).max()
    result = best_by_luck(accuracy, OverSeeds(0.98, 0.001, 1000), 50, seed=1)
    assert result["by_luck"]["median"] == pytest.approx(2.2, abs=0.1)  # 50 draws: Phi(x) = 0.5 ** (1 / 50), x = 2.204
    assert 0.01 < result["by_luck"]["share"] < 0.99
    better = best_by_luck(accuracy + 0.005, OverSeeds(0.98, 0.001, 1000), 50, seed=1)
    assert better["by_luck"]["share"] < 0.001


def test_stage_describes_the_plateau_and_repeats_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = np.abs(MU - MEAN) / SIGMA > 11
    accuracy = np.where(dead, 0.1028, 0.985 - np.abs(MEAN) / 100)
    result = run(tmp_path, monkeypatch, MEAN, STD, accuracy, {"mean": 0.985, "std": 0.001, "n": 8})
    on = np.abs(MEAN) <= 0.5
    assert (result["trials"], result["learned"], result["dead"]) == (60, (~dead).sum(), dead.sum())
    assert result["plateau"]["trials"] == on.sum()
    assert result["plateau"]["accuracy"]["median"] == pytest.approx(np.median(accuracy[on]), abs=1e-6)
    assert result["best"]["above_standard"] == pytest.approx((accuracy.max() - 0.985) / 0.001, abs=1e-5)
    with (tmp_path / "plots/region.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["learned"] for row in rows] == [str(int(value)) for value in ~dead]
    assert float(rows[0]["input_mean"]) == pytest.approx((MU - MEAN[0]) / STD[0], abs=1e-6)
    written = [
        (tmp_path / name).read_bytes() for name in ("metrics/region.json", "plots/region.csv", "plots/region.png")
    ]
    region.main(params.load())
    assert written == [
        (tmp_path / name).read_bytes() for name in ("metrics/region.json", "plots/region.csv", "plots/region.png")
    ]


@pytest.mark.parametrize(
    "accuracy",
    [
        [0.98],
        [0.1],
        [0.98] * 6,
        [0.1] * 6,
        [0.1] + [0.98] * 5,
        [0.1, 0.1] + [0.98] * 4,
        [0.1] * 3 + [0.98] * 3,
        [1.0, 0.0],
    ],
    ids=str,
)
@pytest.mark.parametrize("std", [0.001, 0.0, None])
def test_small_studies_leave_out_what_they_cannot_say(
    accuracy: list[float], std: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = len(accuracy)
    monkeypatch.setattr(boundary, "CELLS", (50, 20))
    result = run(
        tmp_path, monkeypatch, MEAN[:n], STD[:n], accuracy, {"mean": 0.98, "std": std, "n": 1 if std is None else 2}
    )
    rarer = min(result["learned"], result["dead"])
    assert result["learned"] == sum(value > 0.5 for value in accuracy)
    assert (result["separating"]["quantity"] is None) == (rarer < 2)
    assert (result["quantities"]["offset"]["auc"] is None) == (rarer < 1)
    assert (result["best"]["above_standard"] is None) == (not std)
    assert (tmp_path / "plots/region.png").exists()
