"""Networks of torchvision under other normalizations: on real digits, also as a folder of files like ImageNet."""

import copy
import json
import random
import shutil
import urllib.request
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from conftest import ROOT, Clone, set_params
from PIL import Image
from torch import nn
from torchvision import models, transforms

from stages.common import mnist
from stages.common.normalization import Normalization
from stages.settings import params
from stages.vision import images, invariance, model, treatments
from stages.vision.trial import MODEL, TreatmentTrial, normalization

CPU = torch.device("cpu")
DIGITS = [str(digit) for digit in range(10)]
IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
ODD = Normalization((0.1, 0.5, -0.4), (1.3, 0.25, 0.6))
EXTREME = Normalization.of(-0.5, 0.2)
SETTINGS = params.load(ROOT / "params.yaml").resnet.model_copy(
    update={"train_images": 800, "test_images": 400, "recalibration_images": 400, "batch_size": 32, "crop": 1.0}
)
OWN = Normalization(SETTINGS.norm.mean, SETTINGS.norm.std)


@pytest.fixture(scope="module")
def data(digits: Path) -> images.Images:
    return images.load(SETTINGS, digits)


@pytest.fixture(scope="module")
def trained(data: images.Images) -> nn.Module:
    return treatments.scratch(data, SETTINGS, OWN, 1, CPU)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Path:
    """Real digits as RGB files in folder layout, in several sizes and formats, 12 of a class in train/, 8 in val/."""
    folder = tmp_path_factory.mktemp("folder") / "digits"
    source = mnist.load(1000, 1000, digits)
    for part, pixels, labels, count in (
        ("train", source.train_images, source.train_labels, 12),
        ("val", source.test_images, source.test_labels, 8),
    ):
        for digit in range(10):
            (folder / part / str(digit)).mkdir(parents=True)
            for number, index in enumerate((labels == digit).nonzero().flatten()[:count].tolist()):
                image = Image.fromarray(pixels[index, 0].numpy()).convert("RGB")
                size = (28, 28 + 4 * (number % 4))[number % 2]
                image.resize((size, size)).save(folder / part / str(digit) / f"{number}.png")
    return folder


@pytest.fixture
def folder(samples: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(samples, tmp_path / "digits"))


def settings_of(folder: Path, **values: object) -> params.Resnet:
    counts = {"train_images": 120, "test_images": 80, "recalibration_images": 100}
    return SETTINGS.model_copy(update={"data": str(folder)} | counts | values)


def refused(call, *arguments, **named) -> str:
    with pytest.raises(params.InputError) as error:
        call(*arguments, **named)
    line = str(error.value.code)
    assert "\n" not in line
    return line


# Folding


@pytest.mark.parametrize("size", [64, 224])
@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "vgg11_bn"])
def test_folded_network_is_the_same_function_border_included(arch: str, size: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(size)
    pixels = torch.randint(256, (4, 3, size, size), dtype=torch.uint8)
    pixels[::2] //= 4  # so that the images differ in more than noise
    network = model.build(arch, None, DIGITS, seed=3)
    network = treatments.recalibrated(network, pixels, IMAGENET, 4)  # logits of a usual size
    own = treatments.logits(network, pixels, IMAGENET)
    folded = treatments.logits(treatments.folded(network, IMAGENET, ODD), pixels, ODD)
    assert own.std() > 0.1
    assert (folded - own).abs().max() < 1e-3
    assert torch.equal(folded.argmax(1), own.argmax(1))
    assert (treatments.logits(network, pixels, ODD) - own).abs().max() > 0.1


FAMILIES = (
    "alexnet convnext_tiny densenet121 efficientnet_b0 maxvit_t mnasnet0_5 mobilenet_v2 mobilenet_v3_small "
    "regnet_x_400mf resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_0 swin_t swin_v2_t vgg11 vit_b_32"
)


@pytest.mark.parametrize("arch", FAMILIES.split())
def test_first_convolution_is_the_one_that_sees_the_images(arch: str) -> None:
    assert arch in model.NETWORKS
    # Shapes suffice, and take no time; RegNet computes its own with numbers.
    with torch.device("cpu" if arch.startswith("regnet") else "meta"):
        network = models.get_model(arch).eval()
        seen: list[torch.Tensor] = []
        name, conv = model.first_convolution(network)
        replaced = copy.deepcopy(conv)
        replaced.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        model.replace(network, name, replaced)
        pixels = torch.rand(1, 3, 224, 224)
        network(pixels)
    assert seen[0] is pixels


# Treatments


def test_what_as_is_loses_comes_back(data: images.Images, trained: nn.Module) -> None:
    own = treatments.logits(trained, data.val.images, OWN)
    before = [part.clone() for part in trained.state_dict().values()]
    outcomes = {name: treatments.outcome(name, trained, data, SETTINGS, EXTREME) for name in treatments.TREATMENTS}
    accuracies = {name: treatments.accuracy(outputs, data.val.labels) for name, outputs in outcomes.items()}
    reached = treatments.accuracy(own, data.val.labels)
    assert reached > 0.85
    assert accuracies["as_is"] < reached - 0.2
    assert accuracies["recalibrated"] > reached - 0.05
    assert accuracies["fine_tuned"] > reached - 0.1
    assert accuracies["folded"] == reached
    assert (outcomes["folded"] - own).abs().max() < 1e-3
    assert all(torch.equal(a, b) for a, b in zip(before, trained.state_dict().values(), strict=True))


def test_recalibration_under_the_own_normalization_changes_little(data: images.Images, trained: nn.Module) -> None:
    own, again = (
        treatments.accuracy(treatments.outcome(name, trained, data, SETTINGS, OWN), data.val.labels)
        for name in ("as_is", "recalibrated")
    )
    assert abs(again - own) < 0.03


def test_recalibrated_statistics_are_those_of_the_images(data: images.Images) -> None:
    network = model.build("resnet18", None, DIGITS, seed=1)
    layer = treatments.recalibrated(network, data.train.images[:64], ODD, 32).get_submodule("bn1")
    with torch.no_grad():
        seen = network.get_submodule("conv1")(ODD(data.train.images[:64])).double()
    assert isinstance(layer, nn.BatchNorm2d)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert torch.allclose(layer.running_mean.double(), seen.mean((0, 2, 3)), atol=1e-5)
    halves = torch.stack([half.var((0, 2, 3)) for half in seen.split(32)]).mean(0)
    assert torch.allclose(layer.running_var.double(), halves, rtol=1e-4)
    assert layer.momentum == 0.1


def test_network_without_batch_normalization_has_nothing_to_recalibrate(data: images.Images) -> None:
    pixels = transforms.functional.resize(data.train.images[:8], 64)
    network = model.build("squeezenet1_1", None, DIGITS, seed=1)
    again = treatments.recalibrated(network, pixels, ODD, 4)
    assert torch.equal(treatments.logits(network, pixels, ODD), treatments.logits(again, pixels, ODD))


def test_recalibration_reaches_batch_normalization_alone(data: images.Images) -> None:
    """Dropout in training mode would change the statistics behind it, and draw random numbers."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.Dropout(),
        nn.Conv2d(8, 8, 3),
        nn.BatchNorm2d(8),
    ]
    with_dropout = nn.Sequential(*layers).train()
    without = nn.Sequential(*layers[:2], nn.Identity(), *layers[3:])
    before = [part.clone() for part in with_dropout.state_dict().values()]
    torch.manual_seed(4)
    state = torch.get_rng_state()
    again, expected = (
        treatments.recalibrated(each, data.train.images[:70], ODD, 32) for each in (with_dropout, without)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(again.buffers(), expected.buffers(), strict=True))
    assert again.get_buffer("4.num_batches_tracked") == 2  # whole batches only
    assert not any(part.training for part in again.modules())
    assert all(part.training for part in with_dropout.modules())
    assert all(torch.equal(a, b) for a, b in zip(before, with_dropout.state_dict().values(), strict=True))


def test_training_depends_on_its_arguments_alone(data: images.Images) -> None:
    few = data._replace(train=images.Part(data.train.images[:70], data.train.labels[:70]))
    network = treatments.scratch(few, SETTINGS, ODD, 5, CPU)
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    torch.set_num_threads(2)
    again = treatments.scratch(few, SETTINGS, ODD, 5, CPU)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    other = treatments.scratch(few, SETTINGS, ODD, 6, CPU)
    assert not torch.equal(network.get_parameter("conv1.weight"), other.get_parameter("conv1.weight"))


def test_normalization_is_torchvisions(data: images.Images) -> None:
    theirs = transforms.Compose([transforms.ToTensor(), transforms.Normalize(*ODD)])
    image = data.val.images[3]
    assert torch.allclose(ODD(image[None])[0], theirs(image.permute(1, 2, 0).numpy()), atol=1e-6)


# Trials


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        (0.5, 0.25),
        ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        (0.0, [0.229, 0.224, 0.225]),
        ([0.5, 0.5, 0.5], 0.25),
    ],
)
def test_trial_is_told_the_normalization_of_the_settings(mean: object, std: object, data: images.Images) -> None:
    norm = params.Norm.model_validate({"mean": mean, "std": std})
    few = data.val.images[:4]
    assert torch.equal(normalization(norm.parameters())(few), Normalization(norm.mean, norm.std)(few))  # type: ignore[arg-type]


@pytest.mark.parametrize("missing", ["mean_g", "std_b"])
def test_missing_channel_is_named(missing: str) -> None:
    parameters = {f"{kind}_{channel}": 0.5 for kind in ("mean", "std") for channel in "rgb"}
    del parameters[missing]
    with pytest.raises(ValueError, match=f"{missing} is missing"):
        normalization(parameters)


def test_one_number_or_three_alike_determine_the_same_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = params.load(ROOT / "params.yaml")
    monkeypatch.chdir(tmp_path)
    MODEL.parent.mkdir(parents=True)
    MODEL.write_bytes(b"any")
    norms = [params.Norm.model_validate({"mean": mean, "std": 0.3}) for mean in (0.1, [0.1] * 3, [0.1, 0.1, 0.2])]
    one, three, other = (
        TreatmentTrial.determinants(
            settings.model_copy(update={"resnet": settings.resnet.model_copy(update={"norm": norm})})
        )
        for norm in norms
    )
    assert one == three != other


# Invariance


def small_network() -> nn.Module:
    """ResNet's first layers and a classifier: float64 would take minutes for all of ResNet."""
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(3, 16, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Flatten(),
        nn.Linear(16 * 7 * 7, 10),
    )


@pytest.mark.parametrize("other", [Normalization.of(0, 1), EXTREME, Normalization.of((0.1, 0.5, -0.4), 0.7)])
def test_batch_normalization_cancels_all_but_border_and_epsilon(other: Normalization, data: images.Images) -> None:
    differences = invariance.figures(small_network(), data.train.images[:64], data.train.labels[:64], OWN, other)
    exact = {name: value for name, value in differences.items() if name.endswith("_exact")}
    early = exact.pop("evaluation_early_exact")
    assert len(exact) == 6
    assert max(exact.values()) < 1e-9
    assert differences["border_share"] == pytest.approx(1 - (11 / 14) ** 2)  # 3 of 14 rows and columns see the padding
    assert differences["logits"] > 0.01 > differences["logits_same_border"] > 1e-9
    assert differences["gradient"] > 0.01 > differences["gradient_same_border"] > 1e-9
    assert early > 0.01
    assert differences["evaluation_other_statistics"] > 0.1


def test_batch_normalization_cancels_no_change_of_channels_against_each_other(data: images.Images) -> None:
    other = OWN._replace(std=(0.2, 0.3081, 0.5))
    differences = invariance.figures(small_network(), data.train.images[:64], data.train.labels[:64], OWN, other)
    assert differences["logits_exact"] > 0.01


def test_epsilon_ends_the_invariance_for_a_very_large_std(data: images.Images) -> None:
    other = OWN._replace(std=(1e3,))
    differences = invariance.figures(small_network(), data.train.images[:64], data.train.labels[:64], OWN, other)
    assert differences["logits_same_border"] > 0.1
    assert differences["logits_exact"] < 1e-9


# Folders


def test_folder_goes_the_way_of_imagenet(samples: Path, trained: nn.Module, tmp_path: Path) -> None:
    torch.save(trained.state_dict(), tmp_path / "weights.pt")
    settings = settings_of(samples, weights=str(tmp_path / "weights.pt"))
    state = model.read(settings.arch, settings.weights)
    data = images.load(settings, cache=tmp_path)
    network = model.build(settings.arch, state, data.classes, settings.seed)
    assert data.classes == DIGITS
    assert data.val.images.shape == (80, 3, 28, 28)
    accuracies = {
        name: treatments.accuracy(treatments.outcome(name, network, data, settings, EXTREME), data.val.labels)
        for name in ("as_is", "folded")
    }
    own = treatments.accuracy(treatments.logits(network, data.val.images, OWN), data.val.labels)
    assert accuracies["folded"] == own > 0.75
    assert accuracies["as_is"] < own


def test_command_for_imagenet_runs_on_any_folder(
    project: Clone, samples: Path, trained: nn.Module, tmp_path: Path
) -> None:
    """As README has it, with weights and images of one's own."""
    torch.save(trained.state_dict(), tmp_path / "weights.pt")
    changes = {
        "data": samples,
        "weights": tmp_path / "weights.pt",
        "size": 28,
        "norm.mean": "[0.1307,0.1307,0.1307]",
        "norm.std": "[0.3081,0.3081,0.3081]",
        "train_images": 120,
        "test_images": 80,
    }
    settings = [part for key, value in changes.items() for part in ("-S", f"resnet.{key}={value}")]
    output = project.dvc("exp", "run", *settings, "resnet_treatments", "resnet_sweep", "resnet_channels")
    assert "resnet: accuracy" in output
    own = json.loads(project.read("metrics/resnet.json"))
    assert own["images"] == {"train": 120, "test": 80}
    assert own["accuracy"] > 0.75
    treated = json.loads(project.read("metrics/resnet_treatments.json"))
    assert treated["normalizations"].keys() == {"zero_one", "half", "low"}
    assert treated["normalizations"]["half"]["normalization"] == {"mean": 0.5, "std": 0.5}
    for each in treated["normalizations"].values():
        assert each["folded"] == treated["own"] == own["accuracy"]
        assert each["folded_difference"] < 1e-3
    assert "accuracy_recalibrated" in project.read("plots/resnet_sweep.csv")

    before = project.results()
    (tmp_path / "weights.pt").write_bytes(b"none")
    failed = project.dvc("exp", "run", *settings, "-S", "resnet.seed=5", "resnet_treatments", check=False)
    assert f"resnet.weights = '{tmp_path / 'weights.pt'}': no state dict" in failed
    assert "Traceback" not in failed
    assert project.results() == before


def test_folder_is_decoded_once_and_again_after_a_change(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Path] = []
    read = images._read

    def counted(path: Path, settings: params.Resnet) -> np.ndarray:
        decoded.append(path)
        return read(path, settings)

    monkeypatch.setattr(images, "_read", counted)
    first = images.load(settings_of(folder), cache=tmp_path / "cache")
    assert len(decoded) == 200
    again = images.load(settings_of(folder), cache=tmp_path / "cache")
    assert len(decoded) == 200
    assert torch.equal(first.val.images, again.val.images)
    shutil.copy(folder / "val" / "1" / "0.png", folder / "val" / "0" / "0.png")
    images.load(settings_of(folder), cache=tmp_path / "cache")
    assert len(decoded) == 280
    assert not list((tmp_path / "cache").glob("*.part"))


def test_images_are_those_of_torchvisions_evaluation(samples: Path, tmp_path: Path) -> None:
    data = images.load(settings_of(samples, size=14, crop=0.875), cache=tmp_path)
    usual = transforms.Compose([transforms.Resize(16), transforms.CenterCrop(14), transforms.PILToTensor()])
    theirs = {usual(Image.open(path)).numpy().tobytes() for path in samples.glob("val/*/*.png")}
    assert {image.numpy().tobytes() for image in data.val.images} == theirs


def test_choice_of_images_is_balanced_and_grows(samples: Path, tmp_path: Path) -> None:
    few, more = (images.load(settings_of(samples, test_images=count), cache=tmp_path).val for count in (30, 35))
    assert torch.bincount(few.labels, minlength=10).tolist() == [3] * 10
    assert torch.equal(few.labels, more.labels[:30])
    assert torch.equal(few.images, more.images[:30])
    assert few.labels.tolist() != sorted(few.labels.tolist())


def test_channel_statistics_are_exact(samples: Path, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (300, 3, 5, 4), dtype=torch.uint8, generator=generator)
    pixels[:, 1] //= 3
    mean, std = images.statistics(pixels)
    expected = pixels.double() / 255
    assert mean == pytest.approx(expected.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert std == pytest.approx(expected.std((0, 2, 3), correction=0).tolist(), abs=1e-12)


def test_imagenettes_classes_are_read_at_their_indices_among_1000(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("train", "val"):
        for digit, name in enumerate(sorted(model.IMAGENET_INDICES)):
            shutil.copytree(samples / part / str(digit), tmp_path / "imagenette2-320" / part / name)
    monkeypatch.setattr(images, "IMAGENETTE", tmp_path)
    data = images.load(settings_of(Path("imagenette"), size=64), cache=tmp_path)
    whole = model.build("squeezenet1_1", None, [str(number) for number in range(1000)], seed=1)
    file = tmp_path / "hub" / "checkpoints" / Path(models.SqueezeNet1_1_Weights.IMAGENET1K_V1.url).name
    file.parent.mkdir(parents=True)
    torch.save(whole.state_dict(), file)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # torchvision's weights, as if fetched
    state = model.read("squeezenet1_1", "IMAGENET1K_V1")
    network = model.build("squeezenet1_1", state, data.classes, seed=2)
    indices = [0, 217, 482, 491, 497, 566, 569, 571, 574, 701]
    few = data.val.images[:4]
    assert torch.equal(treatments.logits(network, few, OWN), treatments.logits(whole, few, OWN)[:, indices])
    assert treatments.logits(treatments.folded(network, OWN, ODD), few, ODD).shape == (4, 10)
    line = refused(model.build, "squeezenet1_1", state, DIGITS, seed=2)
    assert "1000 classes" in line


# Errors


def test_folder_of_another_layout_is_one_line(folder: Path, tmp_path: Path) -> None:
    def line(**values: object) -> str:
        return refused(images.load, settings_of(folder, **values), cache=tmp_path / "cache")

    assert "no such folder; accepted: mnist, imagenette or" in line(data="imagenet")
    assert "resnet.test_images = 81: " in line(test_images=81)
    (folder / "val" / "3").rename(folder / "val" / "three")
    assert f"{folder / 'train' / '3'}: val/ has no such class" in line()
    (folder / "val" / "three").rename(folder / "val" / "3")
    (folder / "train" / "4" / "5.png").write_bytes((folder / "train" / "4" / "5.png").read_bytes()[:150])
    assert f"{folder / 'train' / '4' / '5.png'}: no readable image" in line()
    (folder / "train" / "4" / "5.png").write_text("no image")
    assert f"{folder / 'train' / '4' / '5.png'}: no readable image" in line()
    assert not list((tmp_path / "cache").glob("*.npy"))
    for path in (folder / "train" / "7").iterdir():
        path.unlink()
    assert "no valid file for the classes 7" in line()
    shutil.rmtree(folder / "val")
    (folder / "train" / "7").rmdir()
    assert f"{folder / 'val'}: no such folder" in line()
    (folder / "val").mkdir()
    assert "find any class folder" in line()


def test_weights_of_another_kind_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    assert "no such file; accepted: IMAGENET1K_V1 of resnet18" in refused(model.read, "resnet18", str(path))
    assert "resnet.arch = 'resnet19': unknown" in refused(model.read, "resnet19", None)
    for content in ({"epoch": 3}, [1, 2], {}, models.squeezenet1_1()):
        torch.save(content, path)
        assert "no state dict" in refused(model.read, "resnet18", str(path))
    path.write_text("no weights")
    assert "no state dict" in refused(model.read, "resnet18", str(path))
    assert "no state dict" in refused(model.read, "resnet18", str(tmp_path))

    torch.save(models.resnet34(num_classes=10).state_dict(), path)
    line = refused(model.read, "resnet18", str(path))
    assert "not the weights of resnet18: layer1.2.conv1.weight is (64, 64, 3, 3); accepted: nothing" in line
    line = refused(model.read, "resnet50", str(path))
    assert "layer1.0.conv1.weight is (64, 64, 3, 3); accepted: (64, 64, 1, 1)" in line
    line = refused(model.read, "squeezenet1_1", str(path))
    assert "features.0.weight is nothing; accepted: (64, 3, 3, 3)" in line
    state = model.read("resnet34", str(path))
    assert "for 10 classes, resnet.data has 7" in refused(model.build, "resnet34", state, DIGITS[:7], seed=1)


def test_unreachable_source_is_one_line_with_a_way_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_arguments, **_named):
        raise URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setattr(torch.hub, "urlopen", unreachable)
    monkeypatch.setattr(images, "IMAGENETTE", tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    line = refused(images.load, settings_of(Path("imagenette"), size=224, crop=0.875))
    assert "no route to host" in line
    assert "imagenette2-320.tgz" in line
    line = refused(model.read, "resnet18", "IMAGENET1K_V1")
    assert "no route to host" in line
    assert "/resnet18-f37072fd.pth" in line


@pytest.mark.parametrize(
    ("key", "value", "accepted"),
    [
        ("norm.mean", [0.1, 0.2], "finite number, or three"),
        ("norm.mean", "0.1", "finite number, or three"),
        ("norm.mean", True, "finite number, or three"),
        ("norm.mean", [0.1, 0.2, float("nan")], "finite number, or three"),
        ("norm.std", 0, "greater than 0"),
        ("norm.std", [0.1, 0.1, -1], "greater than 0"),
        ("others", [], "at least 1"),
        ("others", ["zero_two"], "'zero_two' is none of normalizations: "),
        ("norm", {"mean": 0, "std": 1, "men": 2}, "accepted here: mean, std"),
        ("scratch.normalizations", ["half", "zero_one"], "must have one named standard"),
        ("size", 224, "must be 28 where data is mnist"),
        ("crop", 0, "greater than 0"),
        ("recalibration_images", 3001, "at most train_images (3000)"),
        ("fine_tune.schedule", "cosine", "'constant' or 'linear'"),
        ("train.momentum", 1, "less than 1"),
    ],
)
def test_bad_setting_is_one_line(key: str, value: object, accepted: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    set_params(tmp_path, {f"resnet.{key}": value})
    line = refused(params.load, tmp_path / "params.yaml")
    assert "resnet" in line
    assert accepted in line
