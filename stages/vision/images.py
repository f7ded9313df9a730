"""Images for any network: digits in three equal channels, or photographs, decoded once and kept as bytes on disk."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from stages.common import mnist
from stages.common.errors import InputError
from stages.common.normalization import Normalization
from stages.settings import progress
from stages.settings.params import Imagenet, Resnet
from stages.vision import samples

CACHE = Path("data/images")
AVAILABLE_DIGITS = (60_000, 10_000)
CHUNK = 256  # images that are decoded, or counted, at a time


class Part(NamedTuple):
    """images: uint8 tensor (N, 3, H, W), possibly memory-mapped from disk; labels: int64 tensor (N,), classes"""

    images: torch.Tensor
    labels: torch.Tensor


class Images(NamedTuple):
    """train: None where the data has no such part; classes: their names, in the order of the labels"""

    train: Part | None
    val: Part
    classes: list[str]


class Preparation(NamedTuple):
    """A library's evaluation transform, but for its normalization.

    transform: PIL image in RGB -> uint8 array or tensor (3, H, W)
    words:     what it does, so that images prepared otherwise are other images
    """

    transform: Callable[[Image.Image], np.ndarray]
    words: str


def digits(settings: Resnet, folder: Path = mnist.FOLDER) -> Images:
    """The first digits of MNIST, as many as `settings` asks for.

    raises: InputError if a file is missing or damaged, or there are too few
    """
    counts = settings.train_images, settings.test_images
    _check_counts("resnet", dict(zip(("train_images", "test_images"), counts, strict=True)), AVAILABLE_DIGITS, "MNIST")
    data = mnist.load(*counts, folder)
    return Images(
        Part(data.train_images.expand(-1, 3, -1, -1), data.train_labels),
        Part(data.test_images.expand(-1, 3, -1, -1), data.test_labels),
        [str(digit) for digit in range(10)],
    )


def photographs(settings: Imagenet, preparation: Preparation, source: str | None, root: Path = Path()) -> Images:
    """The photographs that `settings` asks for, a fixed choice that is balanced over the classes.

    They are kept decoded in data/images, a .npy file for each part: where it is there, nothing asks for photographs.

    source: where the samples come from, as `samples.fetch` knows it
    root:   the folder that the project's data lie in
    raises: InputError if data is missing or of another layout, if there are too few images, or an image is broken
    """
    if settings.data == samples.NAME:
        hashes = samples.read(root)
        _check_counts("imagenet", {"test_images": settings.test_images}, (len(hashes),), str(samples.MANIFEST))
        labels = torch.arange(len(hashes))  # one of each class, in the order of their names
        chosen = _choose(labels, settings.test_images)
        path = root / decoded_samples(settings, preparation, root)
        if not path.exists():
            folder, names = samples.fetch(hashes, source, root), list(hashes)
            _decode([folder / names[index] for index in chosen.tolist()], preparation, path)
        return Images(None, Part(_mapped(path), labels[chosen]), samples.classes(hashes))
    train, val = _listed(Path(settings.data))
    available = {"train_images": len(train.samples)} if train else {}
    available["test_images"] = len(val.samples)
    asked = {key: getattr(settings, key) for key in available}
    _check_counts("imagenet", asked, tuple(available.values()), settings.data)
    return Images(
        _part(train, settings.train_images, preparation, root / CACHE) if train else None,
        _part(val, settings.test_images, preparation, root / CACHE),
        val.classes,
    )


def decoded_samples(settings: Imagenet, preparation: Preparation, root: Path = Path()) -> Path:
    """Where the samples lie decoded, under `root`, whatever folder or archive they came from."""
    digest = hashlib.sha256((root / samples.MANIFEST).read_bytes() + preparation.words.encode()).hexdigest()[:12]
    return CACHE / f"{samples.NAME}-{settings.test_images}-{digest}.npy"


def trains(settings: Imagenet) -> bool:
    """Whether the photographs have a part to train on."""
    return settings.data != samples.NAME and _listed(Path(settings.data))[0] is not None


def source(settings: Imagenet) -> dict[str, str]:
    """A hash that distinguishes the photographs from others: of the manifest, or of a folder's names and sizes."""
    if settings.data == samples.NAME:
        return {"samples": hashlib.sha256(samples.MANIFEST.read_bytes()).hexdigest()}
    folder = Path(settings.data)
    paths = [Path(path) for part in _listed(folder) if part for path, _ in part.samples]
    listed = "\n".join(f"{path.relative_to(folder)} {path.stat().st_size}" for path in paths)
    return {"files": hashlib.sha256(listed.encode()).hexdigest()}


def statistics(images: torch.Tensor) -> tuple[Normalization, tuple[float, ...]]:
    """Mean and standard deviation of each channel over all pixels / 255, and the mean of the images' own deviations.

    From exact counts of the 256 values. The last is what ImageNet's 0.229, 0.224, 0.225 are: it lacks the spread of the
    images' means, and so is less.

    images: uint8 tensor (N, 3, H, W), read once, in chunks
    """
    counts, own = np.zeros((3, 256), np.int64), []
    for chunk in images.split(CHUNK):
        for channel in range(3):
            counts[channel] += np.bincount(chunk[:, channel].flatten().numpy(), minlength=256)
        own.append(chunk.double().div(255).std((2, 3), correction=0))
    shares, values = counts / counts.sum(1, keepdims=True), np.arange(256) / 255
    mean = shares @ values
    std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(1))
    return Normalization.of(mean.tolist(), std.tolist()), tuple(torch.cat(own).mean(0).tolist())


def _check_counts(section: str, asked: dict[str, int], available: Sequence[int], source: str) -> None:
    for (key, count), most in zip(asked.items(), available, strict=True):
        if count > most:
            raise InputError(f"params.yaml: {section}.{key} = {count}: {source} has {most}; accepted: 1 to {most}")


def _listed(folder: Path) -> tuple[ImageFolder | None, ImageFolder]:
    """The parts of a folder: train/<class>/* and val/<class>/*, or without train, or <class>/* alone."""
    accepted = "a folder with val/<class>/<image>, and train/<class>/<image> if there is such a part"
    if not folder.is_dir():
        raise InputError(
            f"params.yaml: imagenet.data = {str(folder)!r}: no such folder; accepted: {samples.NAME}, or {accepted}"
        )
    if not (folder / "val").is_dir():
        raise InputError(f"{folder / 'val'}: no such folder; accepted as imagenet.data: {accepted}")
    parts = []
    for part in (folder / "train", folder / "val"):
        try:
            parts.append(ImageFolder(str(part)) if part.is_dir() else None)
        except FileNotFoundError as error:  # no class, or a class without images, which the message names
            raise InputError(f"{part}: {reason(error)}") from None
    train, val = parts
    assert val
    if train and (odd := sorted(set(train.classes) ^ set(val.classes))):
        inside, missing = ("train", "val") if odd[0] in train.classes else ("val", "train")
        raise InputError(f"{folder / inside / odd[0]}: {missing}/ has no such class; accepted: the same in both")
    return train, val


def _part(listed: ImageFolder, count: int, preparation: Preparation, cache: Path) -> Part:
    paths = [Path(path) for path, _ in listed.samples]
    labels = torch.tensor(listed.targets)
    chosen = _choose(labels, count)
    paths, labels = [paths[index] for index in chosen.tolist()], labels[chosen]
    digest = hashlib.sha256(preparation.words.encode())
    for path in paths:  # a file that is replaced is decoded again
        digest.update(f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}\n".encode())
    source = Path(listed.root)
    path = cache / f"{source.parent.name}-{source.name}-{count}-{digest.hexdigest()[:12]}.npy"
    if not path.exists():
        _decode(paths, preparation, path)
    return Part(_mapped(path), labels)


def _mapped(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.load(path, mmap_mode="c"))  # copy on write: a tensor cannot be read-only


def _choose(labels: torch.Tensor, count: int) -> torch.Tensor:
    """Indices of `count` images in a fixed random order that takes one of each class in turn, in changing order."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    turn = torch.empty_like(order)
    for label in labels.unique():
        of_class = (labels[order] == label).nonzero().flatten()
        turn[of_class] = torch.arange(len(of_class))
    return order[turn.argsort(stable=True)][:count]


def _decode(paths: list[Path], preparation: Preparation, target: Path) -> None:
    """Writes the images at `paths` as one uint8 array (N, 3, H, W), never holding more than a chunk of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{os.getpid()}.part")  # two stages may decode at once
    first = _read(paths[0], preparation)
    # Threads suffice: Pillow decodes and resizes without Python's lock.
    try:
        with (
            aside.open("wb") as file,
            ThreadPoolExecutor() as pool,
            progress.bar("decode", len(paths), "images", log_seconds=10) as bar,
        ):
            shape = (len(paths), *first.shape)
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for start in range(0, len(paths), CHUNK):
                for image in pool.map(lambda path: _read(path, preparation), paths[start : start + CHUNK]):
                    file.write(image.tobytes())
                    bar.update()
        os.replace(aside, target)
    finally:
        aside.unlink(missing_ok=True)


def _read(path: Path, preparation: Preparation) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(preparation.transform(image.convert("RGB")))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what Pillow raises
        raise InputError(f"{path}: no readable image ({reason(error)}); replace or remove it") from None


def reason(error: Exception) -> str:
    """The message of an error, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
