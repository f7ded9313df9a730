"""Why normalizations differ: what folding keeps, what the initial weights change, what falls silent."""

import csv
import json
import math
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from conftest import SETTINGS, Clone, committed

from stages import judge, report
from stages.common import folding, mnist
from stages.common.normalization import Normalization
from stages.fold import load
from stages.lenet import training
from stages.lenet.model import LeNet, silent
from stages.lenet.training import Training, initial, log_probabilities, train_and_test
from stages.settings.params import Init

STANDARD, RAW = Normalization.of(0.1307, 0.3081), Normalization.of(0.0, 1.0)
PAIRS = [STANDARD, RAW, Normalization.of(0.5, 0.5), Normalization.of(5.0, 0.5), Normalization.of(-5.0, 2.47)]
DEFAULT = Training(seed=1998, epochs=1, batch_size=64, shuffle=False, optimizer="adadelta", lr=1.0, gamma=0.7)
INITS = get_args(Init)


@pytest.fixture(scope="module")
def trained(data: mnist.Data) -> LeNet:
    return train_and_test(STANDARD, DEFAULT, data).model


@pytest.mark.parametrize(("padding", "bias"), [(0, True), (0, False), (1, True), ((2, 1), False), (3, False)])
def test_fold_is_exact_with_channels_strides_and_padding(padding, bias: bool) -> None:
    torch.manual_seed(5)
    conv = torch.nn.Conv2d(3, 8, (5, 3), stride=2, padding=padding, bias=bias, dtype=torch.float64)
    pixels = torch.rand(4, 3, 17, 19, dtype=torch.float64)
    own = Normalization.of((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    new = Normalization.of((-0.5, 0.3, 1.5), (0.2, 3.0, 0.6))

    def normalized(norm: Normalization) -> torch.Tensor:
        return (pixels - torch.tensor(norm.mean).view(-1, 1, 1)) / torch.tensor(norm.std).view(-1, 1, 1)

    expected = conv(normalized(own))
    for other in (new, Normalization.of(0.3, 2.0)):
        moved = folding.folded(torch.nn.Sequential(conv), own, other)(normalized(other))
        assert torch.allclose(moved, expected, atol=1e-6)  # the numbers are float32's, the sums float64's


def test_fold_refuses_what_it_cannot_fold() -> None:
    with pytest.raises(ValueError, match="accepted is one group"):
        folding.fold(torch.nn.Conv2d(4, 4, 3, groups=2), RAW, STANDARD)
    with pytest.raises(ValueError, match="pads by reflect; accepted: zeros"):
        folding.frame(torch.nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), 28, 28)


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("norm", PAIRS)
def test_start_at_standard_is_the_standard_networks_function(norm: Normalization, init: Init, data: mnist.Data) -> None:
    default = DEFAULT._replace(seed=7, init=init)
    expected = log_probabilities(initial(STANDARD, default), data.test_images, STANDARD)
    start = initial(norm, default._replace(start=STANDARD))
    assert (log_probabilities(start, data.test_images, norm) - expected).abs().max() < 1e-4


@pytest.mark.parametrize(("layer", "fan_in"), [("conv1", 9), ("conv2", 9 * 32), ("fc1", 64 * 12**2), ("fc2", 128)])
def test_he_normal_weights_are_normal_with_variance_2_by_fan_in(layer: str, fan_in: int) -> None:
    model = initial(STANDARD, DEFAULT._replace(init="he_normal"))
    weights = model.get_parameter(f"{layer}.weight").detach().double().flatten() / math.sqrt(2 / fan_in)
    n = len(weights)
    assert weights.mean().abs() < 4 / math.sqrt(n)
    assert (weights.std() - 1).abs() < 4 / math.sqrt(2 * n)
    assert weights.abs().max() > 2  # a uniform distribution of this variance ends at the root of 3
    assert not model.get_parameter(f"{layer}.bias").any()


def test_zero_bias_is_the_default_without_biases() -> None:
    zero, default = (initial(STANDARD, DEFAULT._replace(init=init)).state_dict() for init in ("zero_bias", "default"))
    for name, values in default.items():
        assert values.any()
        assert torch.equal(zero[name], torch.zeros_like(values) if name.endswith("bias") else values)


def test_order_and_dropout_are_the_same_whatever_the_initial_weights(data: mnist.Data) -> None:
    """What draws them ends in the same state."""
    part, losses, states = data.part(256, 0), set(), []
    for init in INITS:
        training._drawn.cache_clear()  # each draws for itself
        run = train_and_test(STANDARD, DEFAULT._replace(init=init, epochs=2, shuffle=True), part)
        losses.add(run.losses.sum().item())
        states.append(torch.get_rng_state())
    assert len(losses) == len(INITS)
    assert all(torch.equal(state, states[0]) for state in states)


def test_silent_units_are_those_that_no_image_wakes(trained: LeNet, data: mnist.Data) -> None:
    images = STANDARD(data.test_images[:50])
    shares = silent(trained, images)
    awake = (F.relu(trained.conv1(images)) > 0).flatten(1).any(0)
    assert shares["conv1"] == pytest.approx(1 - awake.double().mean().item())
    with torch.no_grad():
        trained.conv2.get_parameter("bias")[:32] = -1e6
    half = silent(trained, images)
    assert half["conv1"] == shares["conv1"]
    assert half["conv2"] >= 0.5 > shares["conv2"]


def test_fold_as_a_tool_makes_a_model_for_raw_pixels(finished: Clone, tmp_path: Path, data: mnist.Data) -> None:
    model, out = finished.folder / "data/models/baseline.pt", tmp_path / "raw.pt"
    tool = (sys.executable, "tools/fold.py", "--mean", "0.1307", "--std", "0.3081")
    finished.run(*tool, "--model", str(model), "--out", str(out))
    expected = log_probabilities(load(model), data.test_images, STANDARD)
    assert (log_probabilities(load(out), data.test_images, RAW) - expected).abs().max() < 1e-4

    other = tmp_path / "other.pt"
    torch.save({"fc.weight": torch.zeros(2, 2)}, other)
    for more, message in (
        (["--model", "absent.pt"], "absent.pt: cannot be read as weights"),
        (["--model", "README.md"], "README.md: cannot be read as weights"),
        (["--model", str(other)], "cannot be read as weights of a LeNet"),
        (["--model", str(model), "--std", "0"], "--std 0: must be finite, and std above 0"),
        (["--model", str(out), "--out", str(out)], "would replace the model"),
    ):
        failed = finished.run(*tool, *more, check=False)
        assert (failed.returncode, failed.stdout.count("\n")) == (1, 1)
        assert message in failed.stdout


def table(project: Clone, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(project.read(f"plots/trials/{name}.csv").splitlines()))


def metrics(project: Clone, name: str) -> dict:
    return json.loads(project.read(f"metrics/{name}.json"))


def test_comparison_is_paired_and_begins_with_the_stages_of_its_own(finished: Clone) -> None:
    rows = table(finished, "one_epoch")
    assert [row["seed"] for row in rows] == ["1998"] * 3 + ["1999"] * 2  # none has one seed
    first = {row["point"]: {outcome: float(row[outcome]) for outcome in ("accuracy", "loss")} for row in rows[:3]}
    assert first["standard"] == metrics(finished, "baseline")
    assert first["zero_one"] == metrics(finished, "zero_one")
    assert rows[0]["accuracy"] != rows[3]["accuracy"]  # another seed


def test_search_varies_its_intervals_and_keeps_its_numbers(finished: Clone) -> None:
    rows = table(finished, "mean_and_rate")
    assert {row["std"] for row in rows} == {"0.5"}
    assert len({(row["mean"], row["lr"]) for row in rows}) == len(rows) == 3


def test_own_rates_are_the_best_on_held_out_images() -> None:
    """What params.yaml says of a study own_rate_X is what rates_X found, with the mean over its seeds."""
    own = {name: study for name, study in SETTINGS.studies.items() if name.startswith("own_rate_")}
    assert own
    for name, study in own.items():
        rates = name.replace("own_rate", "rates")
        points = json.loads(committed(f"metrics/studies/{rates}.json"))["points"]
        tried = report.best_rates(SETTINGS, rates, points)
        found = {best["normalization"]: best["lr"] for _, best, _ in tried}
        assert {name: point.lr for name, point in study.points.items()} == found


def test_metrics_of_a_study_that_is_gone_are_removed(here: Path) -> None:
    for path in (Path("plots/trials/shuffled.csv"), Path("metrics/studies/gone.json")):
        path.parent.mkdir(parents=True)
    Path("plots/trials/shuffled.csv").write_text(committed("plots/trials/shuffled.csv"))
    Path("metrics/studies/gone.json").write_text("{}")
    judge.main(SETTINGS)
    assert [path.name for path in Path("metrics/studies").iterdir()] == ["shuffled.json"]
