"""Images for any network: digits in three equal channels, or photographs, decoded once and kept as bytes on disk."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
import torch
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset

from stages.common import mnist
from stages.common.errors import InputError
from stages.settings import progress
from stages.settings.params import Imagenet, Resnet
from stages.vision import samples

CACHE = Path("data/images")
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
    """A library's evaluation transform, except its normalization.

    transform: PIL image in RGB -> uint8 array or tensor (3, H, W)
    words:     what it does, so that images prepared otherwise are other images
    """

    transform: Callable[[Image.Image], np.ndarray]
    words: str


def digits(settings: Resnet, folder: Path = mnist.FOLDER) -> Images:
    """The first digits of MNIST, as many as `settings` asks for.

    raises: InputError if a file is missing or damaged
    """
    data = mnist.load(settings.train_images, settings.test_images, folder)
    train, val = (Part(images.expand(-1, 3, -1, -1), labels) for images, labels in (data[:2], data[2:]))
    return Images(train, val, list("0123456789"))


def photographs(settings: Imagenet, preparation: Preparation, source: str | None, root: Path = Path()) -> Images:
    """The photographs that `settings` asks for, a fixed choice that is balanced over the classes.

    They are kept decoded in data/images, a .npy file for each part: where it is there, nothing asks for photographs.

    source: where the samples come from, as `samples.fetch` knows it
    root:   the folder that the project's data lie in
    raises: InputError if data is missing or of another layout, if there are too few images, or an image is broken
    """
    if settings.data != samples.NAME:
        train, val = _folders(settings)
        tuned = train.decoded(preparation, root) if train else None
        return Images(tuned, val.decoded(preparation, root), val.classes)
    hashes = samples.read(root)
    _check_count("imagenet.test_images", settings.test_images, len(hashes), str(samples.MANIFEST))
    labels = _choose(torch.arange(len(hashes)), settings.test_images)  # one of each class, in the order of their names
    path, names = root / decoded_samples(settings, preparation, root), list(hashes)
    if not path.exists():
        folder = samples.fetch(hashes, source, root)
        _decode([folder / names[label] for label in labels.tolist()], preparation, path)
    return Images(None, Part(_mapped(path), labels), samples.classes(hashes))


def decoded_samples(settings: Imagenet, preparation: Preparation, root: Path = Path()) -> Path:
    """Where the samples lie decoded, under `root`, whatever folder or archive they came from."""
    digest = hashlib.sha256(samples.text(samples.read(root)) + preparation.words.encode()).hexdigest()[:12]
    return CACHE / f"{samples.NAME}-{settings.test_images}-{digest}.npy"


def trains(settings: Imagenet) -> bool:
    """Whether the photographs have a part to train on."""
    return settings.data != samples.NAME and Path(settings.data, "train").is_dir()


def source(settings: Imagenet) -> dict[str, str]:
    """What distinguishes the photographs from others: the manifest's hash, or that of a folder's chosen photographs.

    Those of a folder are decoded by the Pillow that is installed, the samples perhaps by an earlier one.
    """
    if settings.data == samples.NAME:
        return {"samples": hashlib.sha256(samples.text(samples.read())).hexdigest()}
    digests = "".join(part.digest() for part in _folders(settings) if part)
    return {"files": hashlib.sha256(digests.encode()).hexdigest(), "pillow": PIL.__version__}


def statistics(images: torch.Tensor) -> dict[str, list[float]]:
    """Of each channel: `mean` and `std` of all pixels / 255, and `image_std`, the mean of the images' own deviations.

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
    return {"mean": mean.tolist(), "std": std.tolist(), "image_std": torch.cat(own).mean(0).tolist()}


def _check_count(key: str, count: int, available: int, source: str) -> None:
    if count > available:
        raise InputError(f"params.yaml: {key} = {count}: {source} has {available}; accepted: 1 to {available}")


class _Folder:
    """A part of a folder, <class>/*, without what is hidden; paths and labels are those of its chosen images."""

    def __init__(self, folder: Path, key: str, count: int):
        self.folder, self.skipped = folder, Counter[str]()
        try:
            self.classes = [name for name in find_classes(folder)[0] if not name.startswith(".")]
            numbers = {name: number for number, name in enumerate(self.classes)}
            found = make_dataset(str(folder), numbers, is_valid_file=self._accepts)
        except (FileNotFoundError, ValueError) as error:  # no class, or a class without images, which the message names
            raise InputError(f"{folder}: {samples.reason(error)}; accepted: {' '.join(IMG_EXTENSIONS)}") from None
        _check_count(f"imagenet.{key}", count, len(found), str(folder))
        labels = torch.tensor([label for _, label in found])
        chosen = _choose(labels, count)
        self.paths, self.labels = [Path(found[index][0]) for index in chosen.tolist()], labels[chosen]

    def _accepts(self, path: str) -> bool:
        image = f"{os.sep}." not in path.removeprefix(str(self.folder)) and path.lower().endswith(IMG_EXTENSIONS)
        self.skipped.update([] if image else [Path(path).suffix or Path(path).name])
        return image

    def digest(self) -> str:
        """Of all that its images are: their contents and classes, in order."""
        digest = hashlib.sha256("\n".join(self.classes).encode(errors="surrogateescape"))
        for label, path in zip(self.labels.tolist(), self.paths, strict=True):
            digest.update(f"\n{label} {hashlib.sha256(path.read_bytes()).hexdigest()}".encode())
        return digest.hexdigest()

    def decoded(self, preparation: Preparation, root: Path) -> Part:
        words = f"{self.digest()} {preparation.words} {PIL.__version__}"
        digest, folder = hashlib.sha256(words.encode()).hexdigest()[:12], self.folder
        path = root / CACHE / f"{folder.parent.name}-{folder.name}-{len(self.paths)}-{digest}.npy"
        if not path.exists():
            if self.skipped:
                kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.skipped.items()))
                print(f"{folder}: skipped: {kinds}; accepted: {' '.join(IMG_EXTENSIONS)}", flush=True)
            _decode(self.paths, preparation, path)
        return Part(_mapped(path), self.labels)


def _folders(settings: Imagenet) -> tuple[_Folder | None, _Folder]:
    """The parts of a folder: train/<class>/*, if it is there, and val/<class>/*."""
    folder = Path(settings.data)
    if not (folder / "val").is_dir():
        raise InputError(
            f"params.yaml: imagenet.data = {settings.data!r}: no folder with val/; accepted: {samples.NAME}, or one "
            "with val/<class>/<image>, and train/<class>/<image> if there is such a part"
        )
    val = _Folder(folder / "val", "test_images", settings.test_images)
    if not trains(settings):
        return None, val
    train = _Folder(folder / "train", "train_images", settings.train_images)
    if odd := sorted(set(train.classes) ^ set(val.classes)):
        inside, missing = ("train", "val") if odd[0] in train.classes else ("val", "train")
        raise InputError(f"{folder / inside / odd[0]}: {missing}/ has no such class; accepted: the same in both")
    return train, val


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
    """Writes the images at `paths` as one uint8 array (N, 3, H, W), never holding more than a chunk of it.

    `target` is there whole or not at all. Threads suffice: Pillow decodes and resizes without Python's lock.
    """
    shape = (len(paths), *_read(paths[0], preparation).shape)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")  # two stages may decode at once
    bar = progress.bar("decode", len(paths), "images", log_seconds=10)
    try:
        with part.open("wb") as file, ThreadPoolExecutor() as pool, bar:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for start in range(0, len(paths), CHUNK):
                for image in pool.map(lambda path: _read(path, preparation), paths[start : start + CHUNK]):
                    file.write(image.tobytes())
                    bar.update()
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _read(path: Path, preparation: Preparation) -> np.ndarray:
    try:
        with Image.open(path) as opened:
            image: Image.Image = opened
            if image.mode.startswith("I;16"):  # Pillow's own conversion ends at 255: all would be white
                image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
            elif image.mode in ("I", "F"):
                raise ValueError(f"32 bits a pixel, mode {image.mode}, whose white is unknown; accepted: 8 or 16 bits")
            return np.asarray(preparation.transform(image.convert("RGB")))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what Pillow raises
        raise InputError(f"{path}: no readable image ({samples.reason(error)}); replace or remove it") from None
