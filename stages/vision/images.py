"""Images with three channels: digits, or photographs, which are decoded once and kept on disk as bytes."""

import hashlib
import itertools
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
import torch
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset

from stages.common import mnist
from stages.common.errors import InputError, reason
from stages.settings import progress
from stages.settings.params import Imagenet, Resnet
from stages.vision import samples

CACHE = Path("data/images")
CHUNK = 256  # images decoded or counted at a time

# timm's evaluation transform without its normalization: from RGB to bytes or floats in [0, 1], (3, H, W).
Transform = Callable[[Image.Image], np.ndarray | torch.Tensor]


class Files(NamedTuple):
    """Chosen photographs, not decoded yet."""

    name: str
    labelled: list[tuple[str, int]]  # paths (names for samples) and labels
    classes: list[str]
    contents: str  # their hashes and classes, which identify them
    skipped: int = 0  # number of files that are hidden or no images

    def decoded(self, transform: Transform) -> Path:
        """Where the decoded photographs lie."""
        digest = _sha256(self.contents + words(transform))
        return CACHE / f"{self.name}-{len(self.labelled)}-{digest[:12]}.npy"


def digits(settings: Resnet, folder: Path = mnist.FOLDER) -> mnist.Data:
    """The first digits of MNIST, with three equal channels; raises: InputError as `mnist.load`"""
    data = mnist.load(settings.train_images, settings.test_images, folder)
    train, test = (images.expand(-1, 3, -1, -1) for images in (data.train_images, data.test_images))
    return data._replace(train_images=train, test_images=test)


def photographs(
    settings: Imagenet, transform: Transform, source: str | None, root: Path = Path()
) -> tuple[mnist.Data, list[str]]:
    """The photographs of `chosen`, fetched (see `samples.fetch`) and decoded into data/images unless already there.

    returns: images, uint8 (N, 3, H, W), mapped from disk, perhaps none to train on; names of the classes
    raises:  InputError as `chosen`, or if an image is broken or cannot be fetched
    """
    parts, files = {}, chosen(settings, root)
    for part, listed in files.items():
        path = root / listed.decoded(transform)
        if not path.exists():
            if listed.skipped:
                print(f"{settings.data}: {part}: {listed.skipped} files skipped; accepted: {' '.join(IMG_EXTENSIONS)}")
            folder = samples.fetch(source, root) if settings.data == samples.NAME else Path()
            _decode([folder / name for name, _ in listed.labelled], transform, path)
        pixels = torch.from_numpy(np.load(path, mmap_mode="c"))  # copy on write: a tensor cannot be read-only
        parts[part] = pixels, torch.tensor([label for _, label in listed.labelled])
    pixels, labels = parts["val"]
    return mnist.Data(*parts.get("train", (pixels[:0], labels[:0])), pixels, labels), files["val"].classes


def chosen(settings: Imagenet, root: Path = Path()) -> dict[str, Files]:
    """The photographs of val and, if there is such a part, train: a fixed choice, balanced over the classes.

    raises: InputError if they are missing, too few, or not in folders of classes
    """
    if settings.data == samples.NAME:
        hashes = samples.read(root)
        found = [(name, number) for number, name in enumerate(hashes)]  # one of each class, sorted by WordNet's names
        labelled = _choose(found, settings, "val", samples.MANIFEST)
        classes = [name.partition("_")[0] for name in hashes]
        contents = "".join(f"{sha256}  {name}\n" for name, sha256 in hashes.items())
        return {"val": Files(samples.NAME, labelled, classes, contents)}
    parts = {part: _files(settings, part) for part in (["train", "val"] if trains(settings) else ["val"])}
    if odd := {*parts["val"].classes} ^ {*parts.get("train", parts["val"]).classes}:
        raise InputError(f"{settings.data}: {min(odd)} is in train/ or val/ alone; accepted: the same classes in both")
    return parts


def trains(settings: Imagenet) -> bool:
    """Whether there are photographs to train on."""
    return settings.data != samples.NAME and Path(settings.data, "train").is_dir()


def source(settings: Imagenet) -> dict[str, str]:
    """What identifies the photographs in a fingerprint."""
    digest = _sha256("".join(files.contents for files in chosen(settings).values()))
    if settings.data == samples.NAME:
        return {"samples": digest}  # without Pillow's version: an earlier one may have decoded them
    return {"files": digest, "pillow": PIL.__version__}


def words(transform: Transform) -> str:
    """The steps of a transform, as text that identifies it."""
    return " ".join(repr(transform).split())


def statistics(images: torch.Tensor) -> dict[str, list[float]]:
    """For each channel: `mean` and `std` of all pixels / 255, and `image_std`, the mean over images of their std.

    ImageNet's 0.229, 0.224, 0.225 probably are `image_std`, which ignores differences between images' means.

    images: uint8 tensor (N, 3, H, W), read once, in chunks
    """
    counts, own = np.zeros((3, 256), np.int64), []
    for chunk in images.split(CHUNK):
        counts += [np.bincount(channel.flatten(), minlength=256) for channel in chunk.transpose(0, 1)]
        own.append(chunk.double().div(255).std((2, 3), correction=0))
    shares, values = counts / counts.sum(1, keepdims=True), np.arange(256) / 255
    mean = shares @ values
    std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(1))
    return {"mean": mean.tolist(), "std": std.tolist(), "image_std": torch.cat(own).mean(0).tolist()}


def _files(settings: Imagenet, part: str) -> Files:
    """The photographs in a part of the folder, <class>/*, except hidden ones."""
    folder = Path(settings.data, part)
    try:
        classes = [name for name in find_classes(folder)[0] if not name.startswith(".")]
        found = make_dataset(folder, {name: number for number, name in enumerate(classes)}, IMG_EXTENSIONS)
    except (OSError, ValueError) as error:  # no folder, no class, or a class without images
        said = f"params.yaml: imagenet.data = {settings.data!r}: {reason(error)}"
        accepted = f"{samples.NAME}, or a folder with val/<class>/<image> and, if need be, train/<class>/<image>"
        raise InputError(f"{said}; accepted: {accepted}") from None
    shown = [item for item in found if f"{os.sep}." not in item[0].removeprefix(str(folder))]
    labelled = _choose(shown, settings, part, folder)
    lines = [f"{label} {hashlib.sha256(Path(path).read_bytes()).hexdigest()}" for path, label in labelled]
    name = f"{folder.parent.name}-{part}-pillow-{PIL.__version__}"
    skipped = sum(len(names) for _, _, names in os.walk(folder)) - len(shown)
    return Files(name, labelled, classes, _sha256("\n".join(classes + lines)), skipped)


def _choose(found: list[tuple[str, int]], settings: Imagenet, part: str, source: Path) -> list[tuple[str, int]]:
    """Images in a fixed random order that takes one of each class in turn."""
    key, available = {"train": "train_images", "val": "test_images"}[part], len(found)
    if (count := getattr(settings, key)) > available:
        raise InputError(f"params.yaml: imagenet.{key} = {count}: {source} has {available}; accepted: 1 to {available}")
    order = torch.randperm(available, generator=torch.Generator().manual_seed(0)).tolist()
    of_class: dict[int, Iterator[int]] = defaultdict(itertools.count)
    turns = {index: next(of_class[found[index][1]]) for index in order}
    return [found[index] for index in sorted(order, key=turns.__getitem__)[:count]]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _decode(paths: list[Path], transform: Transform, target: Path) -> None:
    """Writes images as one uint8 array (N, 3, H, W), in chunks. Threads suffice: Pillow releases Python's lock."""
    shape = (len(paths), *_read(paths[0], transform).shape)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")  # two stages may decode at once
    bar = progress.bar("decode", len(paths), "images", log_seconds=10)
    try:
        with part.open("wb") as file, ThreadPoolExecutor() as pool, bar:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for start in range(0, len(paths), CHUNK):
                for image in pool.map(lambda path: _read(path, transform), paths[start : start + CHUNK]):
                    file.write(image.tobytes())
                    bar.update()
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _read(path: Path, transform: Transform) -> np.ndarray:
    try:
        with Image.open(path) as opened:
            image: Image.Image = opened
            if image.mode.startswith("I;16"):  # Pillow's conversion clips at 255: all would be white
                image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
            elif image.mode in ("I", "F"):
                raise ValueError(f"32 bits a pixel, mode {image.mode}, whose white is unknown; accepted: 8 or 16 bits")
            array = np.asarray(transform(image.convert("RGB")))
            return array if array.dtype == np.uint8 else (array * 255).round().astype(np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what Pillow raises
        raise InputError(f"{path}: no readable image ({reason(error)}); replace or remove it") from None
