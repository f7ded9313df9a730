"""Networks for color images under other normalizations, on digits and on made-up photographs: functions and trials."""

import copy
import os
import shutil
from pathlib import Path

import invariance
import numpy as np
import PIL
import pytest
import timm
import torch
import torch.nn.functional as F
from conftest import CLASSES, ROOT, SETTINGS, refused, write_photographs
from PIL import Image
from torch import nn
from torchvision import models, transforms

from stages.common import folding, mnist
from stages.common.normalization import Normalization
from stages.settings.params import Imagenet
from stages.vision import images, model, treatments
from stages.vision.trial import ScratchTrial

CPU = torch.device("cpu")
IMAGENET = Normalization.of((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
ODD = Normalization.of((0.1, 0.5, -0.4), (1.3, 0.25, 0.6))
EXTREME = Normalization.of(-0.5, 0.2)
LITE0 = next(iter(model.BUNDLED))
RESNET = SETTINGS.resnet.model_copy(update={"train_images": 800, "test_images": 400, "batch_size": 32})
BATCH = RESNET.batch_size
OWN = RESNET.norm
USUAL = transforms.Compose([transforms.Resize(64), transforms.CenterCrop(56), transforms.PILToTensor()])


@pytest.fixture(scope="module")
def data(digits: Path) -> mnist.Data:
    return images.digits(RESNET, digits)


@pytest.fixture(scope="module")
def trained(data: mnist.Data) -> nn.Module:
    return treatments.scratch(data, RESNET, OWN, 1, CPU)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Made-up photographs in folder layout, 4 of a class in train/, 3 in val/."""
    write_photographs(tmp_path / "folder" / "train", of_class=4)
    write_photographs(tmp_path / "folder" / "val", of_class=3)
    return tmp_path / "folder"


def settings_of(folder: Path, **values: object) -> Imagenet:
    return SETTINGS.imagenet.model_copy(update={"data": str(folder), "train_images": 12, "test_images": 9} | values)


def loaded(folder: Path, **values: object) -> mnist.Data:
    """As the stages do; decoded images are kept alongside the folder."""
    return images.photographs(settings_of(folder, **values), USUAL, None, folder.parent)[0]


# Folding


PUBLISHED = "published"
# TensorFlow's padding, of the published network, has more on one side than on the other, for odd sizes on both alike.
FOLDED = [
    (arch, (size, size)) for size in (64, 75) for arch in ("resnet18", "vgg11_bn", "mobilenet_v3_large", "regnetx_002")
]
FOLDED += [("resnet50", (75, 75)), (PUBLISHED, (224, 224)), (PUBLISHED, (225, 225)), (PUBLISHED, (97, 130))]


@pytest.mark.parametrize(("arch", "size"), FOLDED)
def test_folded_network_is_the_same_function_border_included(arch: str, size: tuple[int, int], tmp_path: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(size[0])
    if arch == PUBLISHED:
        network, own = model.published(LITE0, None)[:2]
        write_photographs(tmp_path, of_class=2)
        photographs = [Image.open(path).resize(size[::-1]) for path in sorted(tmp_path.glob("*/*"))]
        pixels = torch.stack([transforms.functional.pil_to_tensor(each) for each in photographs])
    else:
        pixels, own = torch.randint(256, (4, 3, *size), dtype=torch.uint8), IMAGENET
        pixels[::2] //= 4  # so that the images differ in more than noise
        create = models.get_model if arch in model.TORCHVISION else timm.create_model
        network = treatments.recalibrated(create(arch, num_classes=10), pixels, own, 4)  # features of a usual size
    expected = treatments.logits(network, pixels, own, 4)
    folded, spread = folding.folded(network, own, ODD), expected.std()
    outputs = treatments.logits(folded, pixels, ODD, 4)
    assert (outputs - expected).abs().max() < 1e-3 * spread
    assert torch.equal(outputs.argmax(1), expected.argmax(1))
    # The normalization and the border show: without either, outputs would be others.
    assert (treatments.logits(network, pixels, ODD, 4) - expected).abs().max() > 0.1 * spread
    for part in folded.modules():
        if isinstance(part, folding.Padded):
            part.border.zero_()
    assert (treatments.logits(folded, pixels, ODD, 4) - expected).abs().max() > 0.01 * spread


# Treatments


def share(outputs: torch.Tensor, labels: torch.Tensor) -> float:
    return (outputs.argmax(1) == labels).double().mean().item()


def test_what_as_is_loses_comes_back(data: mnist.Data, trained: nn.Module) -> None:
    own = treatments.logits(trained, data.test_images, OWN, BATCH)
    before = copy.deepcopy(trained.state_dict())
    outcomes = treatments.outcomes(trained, data, RESNET, OWN, EXTREME, count=4)
    accuracies = {name: share(outputs, data.test_labels) for name, outputs in outcomes.items()}
    reached = share(own, data.test_labels)
    assert reached > 0.85
    assert accuracies["as_is"] < reached - 0.2
    assert accuracies["recalibrated"] > reached - 0.05
    assert accuracies["fine_tuned"] > reached - 0.1
    assert accuracies["folded"] == reached
    assert (outcomes["folded"] - own).abs().max() < 1e-3
    assert all(torch.equal(before[name], part) for name, part in trained.state_dict().items())


def test_every_image_is_tested_once_with_statistics_of_the_other_half(data: mnist.Data, trained: nn.Module) -> None:
    pixels = data.test_images[:65].clone()
    outputs = treatments.recalibrated_logits(trained, pixels, EXTREME, 16)
    assert outputs.shape == (65, 10)
    of_odd = treatments.recalibrated(trained, pixels[1::2], EXTREME, 16)
    assert torch.equal(treatments.logits(of_odd, pixels[::2], EXTREME, 16), outputs[::2])
    # An image has an effect on itself and on the other half, and none on its own.
    pixels[4] = 255 - pixels[4]
    changed = (treatments.recalibrated_logits(trained, pixels, EXTREME, 16) != outputs).any(1)
    assert changed.nonzero().flatten().tolist() == sorted([4, *range(1, 65, 2)])


def test_recalibrated_statistics_are_those_of_the_images(data: mnist.Data) -> None:
    network, pixels = model.build("resnet18", seed=1), data.train_images[:64]
    layer = treatments.recalibrated(network, pixels, ODD, 32).get_submodule("bn1")
    with torch.no_grad():
        seen = network.get_submodule("conv1")(ODD(pixels)).double()
    assert torch.allclose(layer.get_buffer("running_mean").double(), seen.mean((0, 2, 3)), atol=1e-5)
    halves = torch.stack([half.var((0, 2, 3)) for half in seen.split(32)]).mean(0)
    assert torch.allclose(layer.get_buffer("running_var").double(), halves, rtol=1e-4)
    assert layer.momentum == 0.1


def test_recalibration_reaches_batch_normalization_alone(data: mnist.Data) -> None:
    """Dropout in training mode would change the statistics behind it, and draw random numbers."""
    pixels = data.train_images[:70]
    one, two = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
    layers: list[nn.Module] = [one, nn.BatchNorm2d(8), nn.Dropout(), two, nn.BatchNorm2d(8)]
    with_dropout = nn.Sequential(*layers).train()
    without = nn.Sequential(*layers[:2], nn.Identity(), *layers[3:])
    before, state = copy.deepcopy(with_dropout.state_dict()), torch.get_rng_state()
    again, expected = (treatments.recalibrated(each, pixels, ODD, 32) for each in (with_dropout, without))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(again.buffers(), expected.buffers(), strict=True))
    assert again.get_buffer("4.num_batches_tracked") == 2  # whole batches only
    assert not any(part.training for part in again.modules())
    assert all(part.training for part in with_dropout.modules())
    assert all(torch.equal(before[name], part) for name, part in with_dropout.state_dict().items())
    again = treatments.recalibrated(one, pixels, ODD, 32)  # a network without batch normalization
    assert torch.equal(treatments.logits(again, pixels, ODD, 32), treatments.logits(one, pixels, ODD, 32))


def test_training_depends_on_its_arguments_alone(data: mnist.Data) -> None:
    few = data.part(70, 0)
    network = treatments.scratch(few, RESNET, ODD, 5, CPU)
    torch.manual_seed(7)
    np.random.seed(7)
    torch.set_num_threads(2)
    again = treatments.scratch(few, RESNET, ODD, 5, CPU)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    other = treatments.scratch(few, RESNET, ODD, 6, CPU)
    assert not torch.equal(network.get_parameter("conv1.weight"), other.get_parameter("conv1.weight"))


# Trials


def test_border_of_the_pixels_own_zero_is_zero_padding(data: mnist.Data) -> None:
    """Under the standard normalization a pixel of 0.1307 is zero: the padding is what it was, up to rounding."""
    few = data.part(32, 0)
    one_step = RESNET.model_copy(update={"train": RESNET.train.model_copy(update={"epochs": 1})})

    def outputs(norm: Normalization, edge: float | None) -> torch.Tensor:
        network = treatments.scratch(few, one_step, norm, 3, CPU, edge)
        return treatments.logits(network, data.test_images[:64], norm, BATCH)

    zero = outputs(OWN, None)
    assert (outputs(OWN, 0.1307) - zero).abs().max() < 1e-4 * zero.std()
    zero = outputs(EXTREME, None)
    assert (outputs(EXTREME, 0.1307) - zero).abs().max() > 0.1 * zero.std()


def test_trial_from_scratch_is_told_border_and_recalibration(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mnist").symlink_to(digits)
    scratch = RESNET.scratch.model_copy(update={"train_images": 96, "test_images": 100})
    settings = SETTINGS.model_copy(update={"resnet": RESNET.model_copy(update={"scratch": scratch})})
    trial, extreme = ScratchTrial(settings, tmp_path), EXTREME.parameters()
    by_trial = trial(seed=4, border=0.1307, recalibrated=64, **extreme)  # type: ignore[arg-type]
    network = treatments.scratch(trial.data, trial.settings, EXTREME, 4, CPU, edge=0.1307)
    network = treatments.recalibrated(network, trial.data.train_images[:64], EXTREME, BATCH)
    outputs, labels = treatments.logits(network, trial.data.test_images, EXTREME, BATCH), trial.data.test_labels
    assert by_trial["accuracy"] == share(outputs, labels)
    assert by_trial["loss"] == F.cross_entropy(outputs.double(), labels).item()
    losses = [trial(seed=4, **more, **extreme)["loss"] for more in ({}, {"border": 0.1307}, {"recalibrated": 64})]  # type: ignore
    assert len({by_trial["loss"], *losses}) == 4


# Invariance: what invariance.md claims


def differences(data: mnist.Data, other: Normalization) -> dict[str, float]:
    return invariance.figures(data.train_images[:64], data.train_labels[:64], OWN, other)


@pytest.mark.parametrize("other", [Normalization.of(0, 1), EXTREME, Normalization.of((0.1, 0.5, -0.4), 0.7)])
def test_batch_normalization_cancels_all_but_border_and_epsilon(other: Normalization, data: mnist.Data) -> None:
    figures = differences(data, other)
    exact = {name: value for name, value in figures.items() if name.endswith("_exact")}
    early = exact.pop("evaluation_early_exact")
    assert exact.keys() == {
        *("logits_exact", "gradient_exact", "training_exact"),  # claims 1 and 2: the function, and all of training
        *("factor_logits_exact", "factor_gradient_exact"),  # 3: c times the weights, a c-th of their gradient
        "evaluation_exact",  # 6: with statistics that fit
    }
    assert max(exact.values()) < 1e-9
    for value in ("logits", "gradient"):  # 4 and 5: not the border, not epsilon
        assert figures[value] > 0.01 > figures[f"{value}_same_border"] > 1e-9
    assert early > 0.01  # 6: averages still hold some of the 0 and 1 that they start from
    assert figures["evaluation_other_statistics"] > 0.1  # 6: "as is"


def test_scales_of_single_channels_or_a_very_large_one_do_not_cancel(data: mnist.Data) -> None:
    """Claim 1: channels may be shifted against each other, but not scaled. Claim 5: then epsilon counts."""
    assert differences(data, Normalization.of(OWN.mean, (0.2, 0.3081, 0.5)))["logits_exact"] > 0.01
    figures = differences(data, Normalization.of(OWN.mean, 1e3))
    assert figures["logits_same_border"] > 0.1
    assert figures["logits_exact"] < 1e-9


def test_numbers_of_the_claims() -> None:
    said = " ".join((ROOT / "invariance.md").read_text(encoding="utf-8").split())
    for size, rows, words in ((28, 14, "3 of the 14 rows"), (224, 112, "3 of 112 for")):
        assert words in said
        assert invariance.border_share(size) == pytest.approx(1 - ((rows - 3) / rows) ** 2)
        assert f"({invariance.border_share(size):.0%}" in said
    scratch = SETTINGS.resnet
    steps = scratch.train.epochs * (scratch.scratch.train_images // scratch.batch_size)
    assert f"0.9^{steps} is {0.9**steps:.0e}".replace("e-0", "e-") in said


# Images


def test_folder_is_decoded_once_and_again_after_a_change(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded, read = list[Path](), images._read

    def counted(path: Path, transform: images.Transform) -> torch.Tensor:
        decoded.append(path)
        return read(path, transform)

    monkeypatch.setattr(images, "_read", counted)
    first = loaded(folder)
    assert len(set(decoded)) == 12 + 9
    decoded.clear()
    assert torch.equal(loaded(folder).test_images, first.test_images)
    assert decoded == []
    one, other = sorted((folder / "val").glob("*/0.JPEG"))[:2]
    shutil.copy(one, other)
    changed = loaded(folder)
    assert set(decoded) == set((folder / "val").glob("*/*"))
    assert (changed.test_images != first.test_images).flatten(1).any(1).sum() == 1
    assert not list(folder.parent.rglob("*.part"))


def test_images_are_prepared_as_told_and_have_the_label_of_their_folder(folder: Path) -> None:
    data = loaded(folder)
    for part, pixels, labels in (("train", *data[:2]), ("val", *data[2:])):
        theirs = {USUAL(Image.open(path)).numpy().tobytes(): path.parent.name for path in (folder / part).glob("*/*")}
        assert theirs == {image.numpy().tobytes(): CLASSES[label] for image, label in zip(pixels, labels, strict=True)}


def test_folder_needs_no_part_to_train_on(folder: Path) -> None:
    shutil.rmtree(folder / "train")
    data = loaded(folder, train_images=1_000_000)
    assert data.train_images.shape == (0, 3, 56, 56)
    line = refused(treatments.train, nn.Conv2d(3, 8, 3), data, OWN, RESNET.fine_tune, BATCH, 1)
    assert "fine_tuned needs images in train/<class>/" in line


def test_choice_of_images_is_balanced_and_grows(folder: Path) -> None:
    (*_, few, labels), (*_, more, more_labels) = (loaded(folder, test_images=count) for count in (6, 8))
    assert torch.bincount(labels).tolist() == [2, 2, 2]
    assert torch.equal(labels, more_labels[:6])
    assert torch.equal(few, more[:6])
    assert labels.tolist() != sorted(labels.tolist())


def test_contents_of_a_folder_distinguish_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(**values: int) -> dict[str, str]:
        return images.source(settings_of(folder, **values))

    first = said()
    with monkeypatch.context() as patch:  # another version may decode otherwise
        patch.setattr(PIL, "__version__", "1.0")
        assert said() != first
    assert said(test_images=8) != first
    one = folder / "val" / CLASSES[1] / "2.JPEG"
    content = one.read_bytes()
    one.write_bytes(content[:-1] + b"\0")  # of the same name and size
    assert said() != first
    one.write_bytes(content)
    assert said() == first
    other = os.fsdecode(b"\xff")
    for part in ("val", "train"):
        (folder / part / CLASSES[2]).rename(folder / part / other)
    assert said() != first  # a class has another name
    assert images.chosen(settings_of(folder))["val"].classes[-1] == other


def test_more_than_8_bits_are_refused(tmp_path: Path) -> None:
    """Pillow's conversion clips them at 255: all would be white."""
    for kind, mode in ((np.uint16, "I;16"), (np.int32, "I"), (np.float32, "F")):
        Image.fromarray(np.full((70, 80), 9, kind)).save(tmp_path / "image.tiff")
        assert f"mode {mode}; accepted: 8 bits" in refused(images._read, tmp_path / "image.tiff", USUAL)


def test_what_is_hidden_or_no_image_is_skipped(folder: Path) -> None:
    class_folder = folder / "val" / CLASSES[0]
    before = loaded(folder)
    for hidden in (folder / "val" / ".hidden", class_folder / ".hidden"):
        shutil.copytree(folder / "val" / CLASSES[1], hidden)
    (class_folder / "0.gif").touch()
    assert images.chosen(settings_of(folder))["val"].classes == list(CLASSES)
    assert torch.equal(loaded(folder).test_images, before.test_images)
    Image.new("RGB", (99, 99)).save(class_folder / "a.png")
    assert len(loaded(folder, test_images=10).test_labels) == 10


def test_folder_of_another_layout_is_one_line(folder: Path) -> None:
    val, has = folder / "val", f"imagenet.data = '{folder}' has "
    assert f"imagenet.test_images = 10: {has}9 in val/<class>/" in refused(loaded, folder, test_images=10)
    assert f"imagenet.train_images = 13: {has}12 in train/" in refused(loaded, folder, train_images=13)
    (val / "n01440764").rename(val / "other")
    assert f"'{folder}': train/ and val/ differ in classes" in refused(loaded, folder)
    (val / "other").rename(val / "n01440764")
    broken = val / "n01440764" / "1.JPEG"
    for content in (broken.read_bytes()[:1500], b"no image"):
        broken.write_bytes(content)
        assert f"{broken}: no readable image" in refused(loaded, folder)
    assert not [path for path in folder.parent.rglob("*val*") if path.is_file()]
    shutil.rmtree(val)
    assert f"{has}0 in val/<class>/; accepted: at most that" in refused(loaded, folder)
