"""Published networks on photographs of ImageNet: where both come from, and what stages say of them."""

import hashlib
import os
import re
import shutil
import sys
import tarfile
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import timm
import torch
from conftest import ROOT, SETTINGS, Clone, refused, write_photographs
from PIL import Image
from safetensors.torch import save_file
from test_vision import USUAL
from timm.models import register_model
from torch import nn
from torchvision import transforms

from stages import trials
from stages.evidence.judgement import change
from stages.settings.params import Params
from stages.vision import images, model, samples
from stages.vision.trial import ImagenetTrial, ImagesTrial

LITE0 = next(iter(model.BUNDLED))
TORCHVISION = SETTINGS.normalizations["torchvision"]


def settings_of(source: str | None = None, **values: object) -> Params:
    imagenet = SETTINGS.imagenet.model_copy(update={"test_images": 6, "batch_size": 4} | values)
    run = SETTINGS.run.model_copy(update={"imagenet": source, "device": "cpu"})
    return SETTINGS.model_copy(update={"imagenet": imagenet, "run": run})


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder with six made-up photographs, one of a class, named as the public ones."""
    names = [f"n0000000{number}" for number in range(6)]
    write_photographs(tmp_path / "by_class", 1, names)
    (tmp_path / "photographs").mkdir()
    for name in names:
        (tmp_path / "by_class" / name / "0.JPEG").rename(tmp_path / "photographs" / f"{name}_thing.JPEG")
    return tmp_path / "photographs"


@pytest.fixture
def project_root(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the manifest of those photographs, and nothing else; the current one."""
    root = tmp_path / "root"
    (root / "data").mkdir(parents=True)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in photographs.iterdir()]
    (root / samples.MANIFEST).write_text("".join(lines))
    monkeypatch.chdir(root)
    return root


def left_in(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


# The samples


def archived(photographs: Path, damage: str = "whole") -> str:
    """The address of their archive in the layout of the public one."""
    folder, path = photographs.with_name(f"{damage}-folder"), photographs.with_name(f"{damage}.tar.gz")
    shutil.copytree(photographs, folder)
    if damage == "altered":
        (folder / "n00000002_thing.JPEG").write_bytes(b"another")
    if damage != "missing":
        with tarfile.open(path, mode="w:gz") as archive:
            archive.add(folder, f"imagenet-sample-images-{samples.COMMIT}")
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path.as_uri()


DAMAGES = {"truncated": "", "altered": "n00000002_thing.JPEG has another SHA-256 than", "missing": "<urlopen error"}


@pytest.mark.parametrize("damage", DAMAGES)
def test_bad_archive_leaves_nothing(damage, photographs, project_root, monkeypatch) -> None:
    bad, whole = archived(photographs, damage), archived(photographs)
    line = refused(samples.fetch, bad)
    assert f"run.imagenet = {bad!r}: " in line
    assert DAMAGES[damage] in line
    assert "accepted: the files of data/imagenet.sha256: a folder, or the address of a tar" in line
    assert left_in(project_root) == [str(samples.MANIFEST)]
    monkeypatch.setattr(samples, "ARCHIVE", whole)
    assert samples.fetch(None) == samples.FOLDER
    assert {path.name for path in samples.FOLDER.iterdir()} == {path.name for path in photographs.iterdir()}
    assert len(left_in(project_root)) == 1 + 6
    assert samples.fetch(None) == samples.FOLDER


def test_samples_come_from_a_folder_that_is_checked_and_left_alone(photographs: Path, project_root: Path) -> None:
    assert samples.fetch(str(photographs)) == photographs
    assert left_in(project_root) == [str(samples.MANIFEST)]
    path = photographs / "n00000004_thing.JPEG"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    assert f"{path} has another SHA-256 than in data/imagenet.sha256" in refused(samples.fetch, str(photographs))
    path.unlink()
    assert f"No such file or directory: '{path}'" in refused(samples.fetch, str(photographs))


def test_manifest_that_is_none_is_one_line(project_root: Path) -> None:
    whole = samples.MANIFEST.read_bytes()
    names = whole.replace(b"  n", b""), whole.replace(b"n00000003", b"../n00000003")
    for content in (b"", whole[:100], *names, b"\0" * 99, b"\xff\xfe"):
        samples.MANIFEST.write_bytes(content)
        assert "`git restore data/imagenet.sha256` brings it back" in refused(samples.read)


def test_text_has_one_encoding_everywhere() -> None:
    """Without one it has the locale's."""
    for path in (ROOT / "stages").rglob("*.py"):
        calls = re.findall(r"\.(?:read|write)_text\(.*", path.read_text(encoding="utf-8"))
        assert all("encoding=" in call for call in calls), path


def test_committed_manifest_has_a_photograph_of_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert images.source(SETTINGS.imagenet) == {"samples": hashlib.sha256(samples.MANIFEST.read_bytes()).hexdigest()}
    assert images.chosen(SETTINGS.imagenet)["val"].classes == timm.data.ImageNetInfo().label_names()


def test_decoded_samples_are_enough_whatever_ends_lines_of_the_manifest(photographs: Path, project_root) -> None:
    imagenet, source = settings_of().imagenet, str(photographs)
    data, classes = images.photographs(imagenet, USUAL, source)
    assert classes == [f"n0000000{number}" for number in range(6)]
    for image, label in zip(data.test_images, data.test_labels.tolist(), strict=True):
        assert torch.equal(image, USUAL(Image.open(photographs / f"{classes[label]}_thing.JPEG")))
    shutil.rmtree(photographs)
    samples.MANIFEST.write_bytes(samples.MANIFEST.read_bytes().replace(b"\n", b"\r\n"))
    assert torch.equal(images.photographs(imagenet, USUAL, source)[0].test_images, data.test_images)
    assert "No such file" in refused(images.photographs, imagenet, transforms.PILToTensor(), source)


# The networks


@pytest.fixture(scope="module")
def bundled() -> model.Published:
    return model.published(LITE0, None)


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(3).integers(256, size=(300, 280, 3), dtype=np.uint8))


def test_bundled_network_is_timms_with_what_timm_says_of_it(bundled: model.Published, image: Image.Image) -> None:
    described = timm.get_pretrained_cfg(LITE0)
    assert described is not None
    # By timm's own way, which ends in its normalization.
    transform = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=described.to_dict()))
    pixels = torch.as_tensor(np.asarray(bundled.transform(image)))
    assert torch.allclose(bundled.norm(pixels[None])[0], transform(image), atol=1e-6)
    assert type(bundled.network.get_submodule("conv_stem")).__name__ == "Conv2dSame"


def saved(network: nn.Module, path: Path) -> str:
    torch.save(network.state_dict(), path)
    return str(path)


def test_state_dict_may_be_written_in_many_ways(tmp_path: Path) -> None:
    network = timm.create_model("resnet18", num_classes=7)
    state = network.state_dict()
    first = model.published("resnet18", saved(network, tmp_path / "resnet18.pt"))
    save_file(state, tmp_path / "weights.safetensors")
    torch.save(dict(reversed(state.items())), tmp_path / "reversed.pt")
    torch.save({f"module.{key}": part for key, part in state.items()}, tmp_path / "parallel.pt")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / os.fsdecode(b"wrapped\xff.pt"))
    for path in tmp_path.iterdir():
        other = model.published("resnet18", str(path))
        assert other.weights == first.weights, path
        assert all(torch.equal(part, state[key]) for key, part in other.network.state_dict().items())
    halved = {key: part.bfloat16() for key, part in state.items()}
    torch.save(halved, tmp_path / "bfloat16.pt")
    rounded = model.published("resnet18", str(tmp_path / "bfloat16.pt"))
    assert all(torch.equal(part, halved[key].float()) for key, part in rounded.network.state_dict().items())
    assert rounded.weights != first.weights


def test_fingerprint_knows_the_weights_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    prints = []
    for number in range(2):  # random weights, others each time
        path = saved(timm.create_model("resnet18"), tmp_path / f"{number}.pt")
        prints.append(ImagenetTrial.determinants(settings_of(arch="resnet18", weights=path)))
    assert [key for key in prints[0] if prints[0][key] != prints[1][key]] == ["network"]


def test_weights_of_another_kind_are_one_line(tmp_path: Path) -> None:
    def line(arch: str, weights: object = None) -> str:
        return refused(model.published, arch, weights and str(weights))

    assert "imagenet.arch = 'resnet19': Unknown model (resnet19); accepted: a network of timm" in line("resnet19")
    assert "imagenet.arch = 'resnet50.in9k': Invalid pretrained tag (in9k)" in line("resnet50.in9k")
    assert "No such file or directory: 'IMAGENET1K_V1'; accepted: its state dict" in line("resnet18", "IMAGENET1K_V1")
    assert "Is a directory" in line("resnet18", tmp_path)
    path, state = tmp_path / "weights.pt", timm.create_model("resnet18").state_dict()
    for saved_as in ({"epoch": 3}, [1, 2], {}, {0: torch.zeros(2)}, timm.create_model("resnet18")):
        torch.save(saved_as, path)
        assert f"imagenet.weights = '{path}': " in line("resnet18", path)
    save_file(state, tmp_path / "whole.safetensors")
    for content in (b"no weights", path.read_bytes()[:9999], (tmp_path / "whole.safetensors").read_bytes()[:9999]):
        for name in (b"damaged\xff\n.pt", b"damaged\xff.safetensors"):
            (damaged := tmp_path / os.fsdecode(name)).write_bytes(content)
            assert f"{str(damaged)!r}: " in line("resnet18", damaged)
    bias, said = state["fc.bias"], f"imagenet.weights = '{path}': "
    for other, wrong in ((bias.to_sparse(), "Error"), (bias / 0, "not all numbers are finite")):
        torch.save(state | {"fc.bias": other}, path)
        assert f"{said}{wrong}" in line("resnet18", path)
    saved(timm.create_model("resnet34"), path)
    assert re.search(f'{said}.* Unexpected .*: "layer1.2.conv1', line("resnet18", path))
    for arch in ("resnet50", "tf_efficientnet_lite0"):
        assert re.search(f"{said}.* Missing .*", line(arch, path))


@register_model
def without_convolution(**_: object) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1000))


@register_model
def scales_first(**_: object) -> nn.Module:
    scale = nn.BatchNorm2d(3)
    nn.init.constant_(scale.weight, 5)
    return nn.Sequential(scale, nn.Conv2d(3, 1000, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize("arch", ["without_convolution", "scales_first", "nf_regnet_b0"])  # the last scales weights
def test_network_that_cannot_absorb_a_normalization_is_one_line(arch: str, tmp_path: Path) -> None:
    line = refused(model.published, arch, saved(timm.create_model(arch), tmp_path / "weights.pt"))
    assert (
        f"imagenet.arch = '{arch}': cannot absorb a normalization; accepted: one that begins with a convolution" in line
    )


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the weights lie that timm has fetched; it can fetch no others."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_weights_that_timm_has_fetched_are_used(fetched: Path) -> None:
    folder, revision, network = fetched / "models--timm--tinynet_e.in1k", "0" * 40, timm.create_model("tinynet_e")
    weights = folder / "snapshots" / revision / "model.safetensors"
    for path in (folder / "refs/main", weights):
        path.parent.mkdir(parents=True)
    (folder / "refs/main").write_text(revision)
    save_file(network.state_dict(), weights)
    published = model.published("tinynet_e", None)
    named = published.network.state_dict()
    assert all(torch.equal(part, named[name]) for name, part in network.state_dict().items())
    assert published.weights == model.published("tinynet_e", str(weights)).weights


def test_unreachable_weights_are_one_line_with_a_way_by_hand(fetched: Path) -> None:
    for arch in (f"{LITE0}.in1k", "resnet18"):
        line = refused(model.published, arch, None)
        assert f"imagenet.arch = {arch!r}: " in line
        assert "accepted: a network of timm, with imagenet.weights if offline" in line


# Trials


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folder")
    write_photographs(folder / "val", of_class=2)
    return folder


@pytest.fixture(scope="module")
def trial(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ImagenetTrial:
    return ImagenetTrial(settings_of(data=str(folder)), tmp_path_factory.mktemp("root"))


def test_result_of_a_trial_is_that_of_the_logits(trial: ImagenetTrial, bundled: model.Published) -> None:
    result = trial(**TORCHVISION.parameters(), treated=3)  # type: ignore[arg-type]
    labels, pixels = trial.data.test_labels, trial.data.test_images

    @torch.no_grad()
    def tested(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        logits = bundled.network(transforms.functional.normalize(pixels / 255, mean, std))[:, [0, 11, 96]]
        return logits, logits.argmax(1) == labels

    own, was = tested(bundled.norm.mean, bundled.norm.std)
    other, now = tested(TORCHVISION.mean, TORCHVISION.std)
    assert torch.allclose(trial.own, own, atol=1e-4)
    assert result["accuracy_own"] == was.double().mean()
    assert result["accuracy"] == now.double().mean()
    assert (result["lost"], result["gained"]) == ((was & ~now).sum(), (now & ~was).sum())
    assert result["loss"] == pytest.approx(nn.functional.cross_entropy(other.double(), labels).item(), abs=1e-4)
    assert result["folded_difference"] == pytest.approx(0, abs=1e-3)
    assert (other - own).abs().max() > 1e-1
    assert (result["folded_other"], result["lost_folded"], result["gained_folded"]) == (0, 0, 0)
    assert "accuracy_recalibrated" in result
    assert "accuracy_fine_tuned" not in result


def test_trial_of_the_images_tells_their_statistics(trial: ImagenetTrial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "CHUNK", 4)  # of 6 images
    of_images = ImagesTrial.__call__(trial, own=1)  # type: ignore[arg-type]
    pixels = trial.data.test_images.double() / 255
    for channel, name in enumerate("rgb"):
        assert of_images[f"mean_{name}"] == pytest.approx(pixels[:, channel].mean().item())
        assert of_images[f"std_{name}"] == pytest.approx(pixels[:, channel].std(correction=0).item())
        own_stds = [image[channel].std(correction=0).item() for image in pixels]
        assert of_images[f"image_std_{name}"] == pytest.approx(np.mean(own_stds))
        assert (of_images[f"own_mean_{name}"], of_images[f"own_std_{name}"]) == (0.5, 0.5)
    result = trial(mean=0.5, std=0.5, treated=1)
    assert (result["accuracy"], result["lost"], result["gained"]) == (of_images["accuracy"], 0, 0)
    assert result["accuracy_own"] == of_images["accuracy"]


def test_trial_is_checked_and_then_needs_its_files_alone(photographs: Path, project_root: Path, tmp_path: Path) -> None:
    line = refused(ImagenetTrial.check, settings_of(str(photographs), test_images=7))
    assert "imagenet.test_images = 7: imagenet.data = 'samples' has 6 in val/" in line
    line = refused(ImagenetTrial.check, settings_of(str(photographs), test_images=4))
    assert "imagenet.weights are for 1000 classes, imagenet.data has 6" in line
    weights = saved(timm.create_model(LITE0, num_classes=6), tmp_path / "six.pt")
    settings = settings_of(str(photographs), test_images=4, weights=weights)
    ImagenetTrial.check(settings)
    files = [str(path) for path in ImagenetTrial.files(settings)]
    assert left_in(project_root) == sorted(files)
    for name in files:  # what a worker of a cluster gets
        (tmp_path / "worker" / name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).rename(tmp_path / "worker" / name)
    shutil.rmtree(photographs)
    assert ImagenetTrial(settings, tmp_path / "worker").data.test_images.shape == (4, 3, 224, 224)


@pytest.mark.usefixtures("project_root")
def test_fine_tuning_determines_trials_where_there_is_a_part_to_train_on(folder: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    for part in ("train", "val"):
        shutil.copytree(folder / "val", both / part)
    for data, counts in (("samples", False), (str(folder), False), (str(both), True)):
        one, other = (ImagenetTrial.determinants(settings_of(data=data, train_images=6, seed=seed)) for seed in (1, 2))
        assert (one != other) == counts


def test_folder_of_photographs_must_be_what_the_trials_read() -> None:
    line = refused(trials.main, settings_of(data="photographs"), "imagenet_treatments")
    assert "studies.imagenet_treatments.trial.reads = 'data/imagenet.sha256'; accepted: 'photographs'" in line


# Comparison on the same images


def test_change_that_shows_nothing_and_change_of_all() -> None:  # test_recomputed has the formulas
    assert change(0, 0, 1000, 0.95)["p_different"] == change(3, 3, 1000, 0.95)["p_different"] == 1
    assert change(4, 0, 4, 0.95)["interval"]["low"] == -1


# Stages


def test_clone_without_photographs_keeps_its_results(project: Clone) -> None:
    shutil.rmtree(project.folder / "photographs")
    said = project.refused(sys.executable, "-m", "stages", "trials", "imagenet_treatments")
    assert "imagenet.data = 'photographs' has 0 in val/<class>/; accepted: at most that" in said
