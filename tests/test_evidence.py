"""Why normalizations differ: what folding keeps, what the initial weights change, what falls silent."""

import csv
import json
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import Clone

from stages import fold, folding, lenet, mnist, params, report, training
from stages.lenet import LeNet
from stages.training import Init, Normalization

STANDARD, RAW = Normalization(0.1307, 0.3081), Normalization(0.0, 1.0)
PAIRS = [STANDARD, RAW, Normalization(0.5, 0.5), Normalization(5.0, 0.5), Normalization(-5.0, 2.47)]


@pytest.fixture(scope="module")
def data(digits: Path) -> mnist.Data:
    return mnist.load(640, 400, digits)


@pytest.fixture(scope="module")
def trained(data: mnist.Data) -> LeNet:
    settings = params.Train(epochs=1, batch_size=64, lr=1.0, gamma=0.7, seed=1998, shuffle=False, threads=1)
    return training.evaluate(STANDARD, settings, data)[0]


@pytest.mark.parametrize("new", PAIRS)
def test_folded_network_is_the_same_function_of_the_pixels(
    new: Normalization, trained: LeNet, data: mnist.Data
) -> None:
    expected = fold.log_probabilities(trained, data.test_images, STANDARD)
    moved = fold.folded(trained, STANDARD, new)
    found = fold.log_probabilities(moved, data.test_images, new)
    assert (found - expected).abs().max() < 1e-4
    back = fold.log_probabilities(fold.folded(moved, new, RAW), data.test_images, RAW)
    assert (back - expected).abs().max() < 1e-4
    if new != STANDARD:  # and without folding, it is another function
        assert (fold.log_probabilities(trained, data.test_images, new) - expected).abs().max() > 1e-2


@pytest.mark.parametrize(("padding", "bias"), [(0, True), (0, False), (1, True), ((2, 1), False), (3, False)])
def test_fold_is_exact_with_channels_strides_and_padding(padding, bias: bool) -> None:
    torch.manual_seed(5)
    conv = torch.nn.Conv2d(3, 8, (5, 3), stride=2, padding=padding, bias=bias, dtype=torch.float64)
    pixels = torch.rand(4, 3, 17, 19, dtype=torch.float64)
    own, new = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((-0.5, 0.3, 1.5), (0.2, 3.0, 0.6))

    def normalized(mean, std):
        return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)

    expected = conv(normalized(*own))
    found = folding.fold(conv, own, new)(normalized(*new))
    assert torch.allclose(found, expected, atol=1e-6)  # the numbers are float32's, the sums float64's
    single = folding.fold(conv, own, (0.3, 2.0))(normalized((0.3,) * 3, (2.0,) * 3))
    assert torch.allclose(single, expected, atol=1e-6)


def test_fold_refuses_what_it_cannot_fold() -> None:
    for conv in (torch.nn.Conv2d(4, 4, 3, groups=2), torch.nn.Conv2d(3, 4, 3, padding="same")):
        with pytest.raises(ValueError, match="one group and zeros as padding"):
            folding.fold(conv, (0, 1), (1, 2))


@pytest.mark.parametrize("norm", PAIRS)
def test_folded_initial_network_is_the_standard_one(norm: Normalization, data: mnist.Data) -> None:
    expected = fold.log_probabilities(training.initial(STANDARD, 7, Init()), data.test_images, STANDARD)
    start = training.initial(norm, 7, Init(folded=STANDARD))
    assert (fold.log_probabilities(start, data.test_images, norm) - expected).abs().max() < 1e-4


def test_factors_scale_the_first_convolution_only() -> None:
    default, scaled = (training.initial(RAW, 3, init).state_dict() for init in (Init(), Init(2.0, 0.5)))
    assert torch.equal(scaled.pop("conv1.weight"), 2 * default.pop("conv1.weight"))
    assert torch.equal(scaled.pop("conv1.bias"), 0.5 * default.pop("conv1.bias"))
    assert all(torch.equal(scaled[name], weights) for name, weights in default.items())


def test_silent_units_are_those_that_no_image_wakes(trained: LeNet, data: mnist.Data) -> None:
    images = STANDARD(data.test_images[:50])
    shares = lenet.silent(trained, images)
    awake = (F.relu(trained.conv1(images)) > 0).flatten(1).any(0)
    assert shares["conv1"] == pytest.approx(1 - awake.double().mean().item())
    with torch.no_grad():
        trained.conv2.get_parameter("bias")[:32] = -1e6
    half = lenet.silent(trained, images)
    assert half["conv1"] == shares["conv1"]
    assert half["conv2"] >= 0.5 > shares["conv2"]


def test_fold_as_a_tool_makes_a_model_for_raw_pixels(finished: Clone, tmp_path: Path, data: mnist.Data) -> None:
    model, out = finished.folder / "data/models/baseline.pt", tmp_path / "raw.pt"
    tool = (sys.executable, "-m", "stages.fold", "--mean", "0.1307", "--std", "0.3081")
    finished.run(*tool, "--model", str(model), "--out", str(out))
    expected = fold.log_probabilities(fold.load(model), data.test_images, STANDARD)
    found = fold.log_probabilities(fold.load(out), data.test_images, RAW)
    assert (found - expected).abs().max() < 1e-4

    other = tmp_path / "other.pt"
    torch.save({"fc.weight": torch.zeros(2, 2)}, other)
    for wrong, message in (
        ("absent.pt", "absent.pt: No such file"),
        ("README.md", "README.md: cannot be read as weights"),
        (str(other), "holds the weights of another network"),
    ):
        failed = finished.run(*tool, "--model", wrong, check=False)
        assert failed.returncode == 1
        assert failed.stdout.count("\n") == 1
        assert message in failed.stdout
    failed = finished.run(*tool[:-1], "0", "--model", str(model), check=False)
    assert "--std 0: must be finite, and std above 0" in failed.stdout


def table(project: Clone, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(project.read(f"plots/{name}.csv").splitlines()))


def metrics(project: Clone, name: str) -> dict:
    return json.loads(project.read(f"metrics/{name}.json"))


def test_replicates_are_paired_and_begin_with_the_stages_of_their_own(finished: Clone) -> None:
    rows, found = table(finished, "replicates"), metrics(finished, "replicates")
    assert [row["seed"] for row in rows] == ["1998"] * 3 + ["1999"] * 3
    by = {(row["seed"], row["normalization"]): row for row in rows}
    for name, stage in (("standard", "baseline"), ("zero_one", "zero_one")):
        own = metrics(finished, stage)
        assert (float(by["1998", name]["accuracy"]), float(by["1998", name]["loss"])) == (own["accuracy"], own["loss"])
        accuracies = [float(by[seed, name]["accuracy"]) for seed in ("1998", "1999")]
        assert found[name]["accuracy"]["mean"] == pytest.approx(sum(accuracies) / 2, abs=1e-6)
    differences = [float(row["difference"]) for row in rows if row["normalization"] == "zero_one"]
    assert found["zero_one"]["difference"]["mean"] == pytest.approx(sum(differences) / 2, abs=1e-6)
    assert by["1998", "standard"]["accuracy"] != by["1999", "standard"]["accuracy"]


def test_more_seeds_are_added_to_those_that_are_there(project: Clone) -> None:
    two = table(project, "replicates")
    output = project.dvc("exp", "run", "-S", "replicates.seeds=3", "replicates")
    assert "replicates: 6 of 9 trials are there" in output
    assert table(project, "replicates")[:6] == two


def test_revived_trials_are_the_first_that_died(finished: Clone) -> None:
    dead = [row for row in table(finished, "sweep") if float(row["accuracy"]) <= 0.5][:2]
    rows = table(finished, "revival")
    assert [row["number"] for row in rows[::2]] == [row["number"] for row in dead]
    assert [row["accuracy"] for row in rows[::2]] == [row["accuracy"] for row in dead]
    assert {row["initial weights"] for row in rows[1::2]} == {"folded"}


def test_initialization_searches_the_factors_at_one_normalization(finished: Clone) -> None:
    rows = table(finished, "initialization")
    assert {(row["mean"], row["std"]) for row in rows} == {("5.0", "0.5")}
    assert len({row["weight_factor"] for row in rows}) == len(rows) == 3


def test_folded_networks_agree_in_the_pipeline(finished: Clone) -> None:
    found = metrics(finished, "folded")
    assert len(found["pairs"]) == 5
    assert found["largest"] < 1e-4


def test_report_says_what_the_metrics_say(project: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    text = project.read("report.md")
    replicates = metrics(project, "replicates")
    for name in ("standard", "zero_one", "none"):
        assert f"| {replicates[name]['accuracy']['mean']:.4f} ± " in text
    assert f"({100 * replicates['zero_one']['difference']['interval']['low']:+.2f} to" in text
    assert replicates["zero_one"]["difference"]["conclusion"] in text
    for link in text.split("](")[1:]:
        assert (project.folder / link.partition(")")[0]).exists()

    path = project.folder / "metrics/replicates.json"
    replicates["zero_one"]["difference"] |= {"conclusion": "different", "mean": -0.0123}
    path.write_text(json.dumps(replicates))
    monkeypatch.chdir(project.folder)
    report.main()
    found = " ".join(project.read("report.md").split())
    assert "mean 0, std 1** makes a difference to the accuracy of mean 0.1307, std 0.3081: -1.23 (" in found
    assert "with a margin of 0.2 points: **different**" in found
