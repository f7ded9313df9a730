"""What separates learning from dying: found where it is known, priced on unseen trials, whole on any study."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from stages import params, region, separation

MU, SIGMA = 0.13066, 0.308108
SETTINGS = params.Region(threshold=0.5, plateau=0.005, folds=5, seed=1)
RANDOM = np.random.default_rng(5)
MEAN, STD = RANDOM.uniform(-10, 10, 60), np.exp(RANDOM.uniform(np.log(0.1), np.log(10), 60))
EVERY = separation.candidates(MEAN, STD, MU, SIGMA)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region, "BOOTSTRAPS", 50)


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, mean, std, accuracy, standard) -> dict:
    """The stage's metrics for a table of trials."""
    shutil.copy(ROOT / "params.yaml", folder)
    for name in ("plots", "metrics"):
        (folder / name).mkdir()
    rows = [f"{n},{m},{s},{a}" for n, (m, s, a) in enumerate(zip(mean, std, accuracy, strict=True))]
    (folder / "plots/sweep.csv").write_text("\n".join(["number,mean,std,accuracy", *rows]))
    (folder / "metrics/statistics.json").write_text(json.dumps({"train": {"mean": MU, "std": SIGMA}}))
    (folder / "metrics/replicates.json").write_text(json.dumps({"standard": {"accuracy": standard}}))
    monkeypatch.chdir(folder)
    region.main()
    return json.loads((folder / "metrics/region.json").read_text())


@pytest.mark.parametrize("name", ["relative_offset", "offset", "contrast", "root_mean_square", "largest_input"])
def test_quantity_that_decides_is_found(name: str) -> None:
    # Means near the pixels' own: far from them, offset and root mean square are one.
    every = separation.candidates(MEAN / 10, STD, MU, SIGMA)
    scores = every[name][:, 0]
    found = region.separate(every, scores > np.median(scores), SETTINGS)
    assert found["separating"]["quantity"] == name
    assert (found["quantities"][name]["auc"], found["quantities"][name]["training_error"]) == (1, 0)
    assert found["quantities"][name]["cross_validated_error"] < 0.05
    assert found["separating"]["nested_error"] < 0.1


def test_influence_of_std_and_side_is_found() -> None:
    random = np.random.default_rng(11)
    mean, std = random.uniform(-10, 10, 400), np.exp(random.uniform(np.log(0.1), np.log(10), 400))
    quantity = np.abs(MU - mean) / SIGMA * (std / SIGMA) ** -0.5 * np.where(mean > MU, 1.5, 1)
    found = region.separate(separation.candidates(mean, std, MU, SIGMA), quantity > np.median(quantity), SETTINGS)
    fitted = found["quantities"]["adjusted_offset"]
    assert found["separating"]["quantity"] == "adjusted_offset"
    assert fitted["std_exponent"]["value"] == pytest.approx(-0.5, abs=0.1)
    assert fitted["side_factor"]["value"] == pytest.approx(1.5, abs=0.25)
    assert fitted["std_exponent"]["low"] <= -0.5 <= fitted["std_exponent"]["high"] < 0


def test_what_separates_nothing_gets_the_error_of_guessing() -> None:
    dead = np.random.default_rng(3).permutation(np.arange(60) < 30)
    found = region.separate(EVERY, dead, SETTINGS)
    assert found["separating"]["nested_error"] > 0.3


def test_threshold_and_auc_are_those_of_brute_force() -> None:
    dead = EVERY["relative_offset"][:, 0] + RANDOM.normal(0, 0.5, 60) > 2
    for columns in (columns for columns in EVERY.values() if columns.shape[1] == 1):
        scores = columns[:, 0]
        rule = separation.fit(columns, dead)
        errors = [((scores > cut) != dead).sum() for cut in np.sort(scores)[:-1]]
        assert (separation.dies(columns, rule) != dead).sum() == min(errors)
        pairs = scores[dead][:, None] > scores[~dead][None, :]
        assert separation.auc(scores, dead) == pytest.approx(pairs.mean())


def test_area_is_that_of_the_strip_of_means() -> None:
    space = params.load(ROOT / "params.yaml").sweep.space
    means, stds = region.plane(space)
    cells = separation.candidates(means.ravel(), stds.ravel(), MU, SIGMA)["relative_offset"]
    columns = EVERY["relative_offset"]
    dead = columns[:, 0] > np.log(12)
    found = region.extent(columns, cells, dead, seed=1)
    assert found["area"]["value"] == pytest.approx(2 * found["threshold"]["value"] * SIGMA / 20, abs=0.0015)
    assert found["band"]["low"] <= 12 <= found["band"]["high"]
    assert found["band"]["trials"] == 0
    assert found["area"]["low"] <= found["area"]["value"] <= found["area"]["high"]


def test_best_of_equally_good_trials_is_what_luck_explains() -> None:
    accuracy = np.random.default_rng(2).normal(0.98, 0.001, 50)
    trials = region.Trials(np.arange(50), np.zeros(50), np.ones(50), accuracy)
    found = region.best(trials, region.Runs(0.98, 0.001, 1000), 50, seed=1)
    assert found["by_luck"]["median"] == pytest.approx(2.2, abs=0.1)  # 50 draws: Phi(x) = 0.5 ** (1 / 50), x = 2.204
    assert 0.01 < found["by_luck"]["share"] < 0.99
    better = region.best(trials._replace(accuracy=accuracy + 0.005), region.Runs(0.98, 0.001, 1000), 50, seed=1)
    assert better["by_luck"]["share"] < 0.001


def test_stage_describes_the_plateau_and_repeats_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = np.abs(MU - MEAN) / SIGMA > 11
    accuracy = np.where(dead, 0.1028, 0.985 - np.abs(MEAN) / 100)
    found = run(tmp_path, monkeypatch, MEAN, STD, accuracy, {"mean": 0.985, "std": 0.001, "n": 8})
    on = np.abs(MEAN) <= 0.5
    assert (found["trials"], found["learned"], found["dead"]) == (60, (~dead).sum(), dead.sum())
    assert found["plateau"]["trials"] == on.sum()
    assert found["plateau"]["accuracy"]["median"] == pytest.approx(np.median(accuracy[on]), abs=1e-6)
    assert found["best"]["above_standard"] == pytest.approx((accuracy.max() - 0.985) / 0.001, abs=1e-5)
    with (tmp_path / "plots/region.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["learned"] for row in rows] == [str(int(value)) for value in ~dead]
    assert float(rows[0]["input_mean"]) == pytest.approx((MU - MEAN[0]) / STD[0], abs=1e-6)
    written = [
        (tmp_path / name).read_bytes() for name in ("metrics/region.json", "plots/region.csv", "plots/region.png")
    ]
    region.main()
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
    monkeypatch.setattr(region, "CELLS", (50, 20))
    found = run(
        tmp_path, monkeypatch, MEAN[:n], STD[:n], accuracy, {"mean": 0.98, "std": std, "n": 1 if std is None else 2}
    )
    rarer = min(found["learned"], found["dead"])
    assert found["learned"] == sum(value > 0.5 for value in accuracy)
    assert (found["separating"]["quantity"] is None) == (rarer < 2)
    assert (found["quantities"]["offset"]["auc"] is None) == (rarer < 1)
    assert (found["best"]["above_standard"] is None) == (not std)
    assert (tmp_path / "plots/region.png").exists()
