"""Image data for any network: MNIST as RGB, Imagenette, or a folder; decoded once and kept as bytes on disk."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torchvision.datasets import ImageFolder, Imagenette
from torchvision.transforms import functional

from stages.common import mnist
from stages.common.normalization import Normalization
from stages.settings import progress
from stages.settings.params import InputError, Resnet

CACHE = Path("data/images")
IMAGENETTE = Path("data")  # where its folder is, or comes to be
AVAILABLE_DIGITS = (60_000, 10_000)
CHUNK = 256  # images that are decoded, or counted, at a time


class Part(NamedTuple):
    """images: uint8 tensor (N, 3, size, size), possibly memory-mapped from disk; labels: int64 tensor (N,), classes"""

    images: torch.Tensor
    labels: torch.Tensor


class Images(NamedTuple):
    """classes: the names of the classes, in the order of the labels"""

    train: Part
    val: Part
    classes: list[str]


def load(settings: Resnet, digits: Path = mnist.FOLDER, cache: Path = CACHE) -> Images:
    """The images that `settings` asks for: of MNIST the first, of a folder a fixed choice, balanced over the classes.

    Digits stay as they are, 28 x 28. The images of a folder go through the usual evaluation transform: the shorter side
    resized to size / crop, the centre of size x size cut out.

    digits: where the MNIST files are
    cache:  where decoded images are kept, a .npy file for each part; whoever opens them again decodes nothing
    raises: InputError if data is missing or of another layout, if there are too few images, or an image is broken
    """
    if settings.data == "mnist":
        _check_counts(settings, AVAILABLE_DIGITS, "MNIST")
        data = mnist.load(settings.train_images, settings.test_images, digits)
        return Images(
            Part(data.train_images.expand(-1, 3, -1, -1), data.train_labels),
            Part(data.test_images.expand(-1, 3, -1, -1), data.test_labels),
            [str(digit) for digit in range(10)],
        )
    folder = _folder(settings)
    train, val = _listed(folder)
    _check_counts(settings, (len(train.samples), len(val.samples)), str(folder))
    return Images(
        _part(train, settings.train_images, settings, cache),
        _part(val, settings.test_images, settings, cache),
        train.classes,
    )


def source(settings: Resnet) -> dict[str, str]:
    """Hashes that distinguish the data from other data: those of the digits, or one of a folder's names and sizes."""
    if settings.data == "mnist":
        return {name: sha256 for name, (_, sha256) in mnist.FILES.items()}
    folder = _folder(settings)
    paths = [Path(path) for part in _listed(folder) for path, _ in part.samples]
    listed = "\n".join(f"{path.relative_to(folder)} {path.stat().st_size}" for path in paths)
    return {"files": hashlib.sha256(listed.encode()).hexdigest()}


def statistics(images: torch.Tensor) -> Normalization:
    """Mean and standard deviation of each channel over all pixels / 255, from exact counts of the 256 values.

    images: uint8 tensor (N, 3, H, W), read once, in chunks
    """
    counts = np.zeros((3, 256), np.int64)
    for chunk in images.split(CHUNK):
        for channel in range(3):
            counts[channel] += np.bincount(chunk[:, channel].flatten().numpy(), minlength=256)
    shares, values = counts / counts.sum(1, keepdims=True), np.arange(256) / 255
    mean = shares @ values
    std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(1))
    return Normalization.of(mean.tolist(), std.tolist())


def _check_counts(settings: Resnet, available: tuple[int, int], source: str) -> None:
    for key, most in zip(("train_images", "test_images"), available, strict=True):
        if (count := getattr(settings, key)) > most:
            raise InputError(f"params.yaml: resnet.{key} = {count}: {source} has {most}; accepted: 1 to {most}")


def _folder(settings: Resnet) -> Path:
    return _imagenette(settings) if settings.data == "imagenette" else Path(settings.data)


def _imagenette(settings: Resnet) -> Path:
    """The folder of Imagenette, fetched where it is missing: the edition of 320 pixels where they are enough."""
    small = settings.size / settings.crop <= 320
    folder = IMAGENETTE / ("imagenette2-320" if small else "imagenette2")
    if not folder.is_dir():
        aside = folder.with_suffix(".part")  # unpacked whole or not at all
        try:
            Imagenette(aside, "val", "320px" if small else "full", download=True)
            os.replace(aside / folder.name, folder)
        except (OSError, RuntimeError, EOFError) as error:
            raise InputError(
                f"params.yaml: resnet.data = 'imagenette': cannot be fetched ({reason(error)}); by hand: unpack "
                f"https://s3.amazonaws.com/fast-ai-imageclas/{folder.name}.tgz into {IMAGENETTE}/"
            ) from None
    return folder


def _listed(folder: Path) -> tuple[ImageFolder, ImageFolder]:
    accepted = "a folder with train/<class>/<image> and val/<class>/<image>"
    if not folder.is_dir():
        raise InputError(
            f"params.yaml: resnet.data = {str(folder)!r}: no such folder; accepted: mnist, imagenette or {accepted}"
        )
    parts = []
    for part in (folder / "train", folder / "val"):
        if not part.is_dir():
            raise InputError(f"{part}: no such folder; accepted as resnet.data: {accepted}")
        try:
            parts.append(ImageFolder(str(part)))
        except FileNotFoundError as error:  # no class, or a class without images, which the message names
            raise InputError(f"{part}: {reason(error)}") from None
    train, val = parts
    if odd := sorted(set(train.classes) ^ set(val.classes)):
        inside, missing = ("train", "val") if odd[0] in train.classes else ("val", "train")
        raise InputError(f"{folder / inside / odd[0]}: {missing}/ has no such class; accepted: the same in both")
    return train, val


def _part(listed: ImageFolder, count: int, settings: Resnet, cache: Path) -> Part:
    paths = [Path(path) for path, _ in listed.samples]
    labels = torch.tensor(listed.targets)
    chosen = _choose(labels, count)
    paths, labels = [paths[index] for index in chosen.tolist()], labels[chosen]
    digest = hashlib.sha256(repr((settings.size, settings.crop)).encode())
    for path in paths:  # a file that is replaced is decoded again
        digest.update(f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}\n".encode())
    source = Path(listed.root)
    name = f"{source.parent.name}-{source.name}-{settings.size}px-{count}-{digest.hexdigest()[:12]}.npy"
    if not (cache / name).exists():
        _decode(paths, settings, cache / name)
    # Copy on write: a tensor cannot be read-only.
    return Part(torch.from_numpy(np.load(cache / name, mmap_mode="c")), labels)


def _choose(labels: torch.Tensor, count: int) -> torch.Tensor:
    """Indices of `count` images in a fixed random order that takes one of each class in turn, in changing order."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    turn = torch.empty_like(order)
    for label in labels.unique():
        of_class = (labels[order] == label).nonzero().flatten()
        turn[of_class] = torch.arange(len(of_class))
    return order[turn.argsort(stable=True)][:count]


def _decode(paths: list[Path], settings: Resnet, target: Path) -> None:
    """Writes the images at `paths` as one uint8 array (N, 3, size, size), never holding more than a chunk of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_suffix(".part")
    shape = (len(paths), 3, settings.size, settings.size)
    # Threads suffice: Pillow decodes and resizes without Python's lock.
    with (
        aside.open("wb") as file,
        ThreadPoolExecutor() as pool,
        progress.bar("decode", len(paths), "images", log_seconds=10) as bar,
    ):
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for start in range(0, len(paths), CHUNK):
            for image in pool.map(lambda path: _read(path, settings), paths[start : start + CHUNK]):
                file.write(image.tobytes())
                bar.update()
    os.replace(aside, target)


def _read(path: Path, settings: Resnet) -> np.ndarray:
    try:
        with Image.open(path) as image:
            resized = functional.resize(image.convert("RGB"), round(settings.size / settings.crop))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what Pillow raises
        raise InputError(f"{path}: no readable image ({reason(error)}); replace or remove it") from None
    return np.asarray(functional.center_crop(resized, settings.size)).transpose(2, 0, 1)


def reason(error: Exception) -> str:
    """The message of an error, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
