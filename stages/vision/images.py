"""Images with three channels: digits, and photographs, decoded once and kept on disk."""

import hashlib
import itertools
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
import torch
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from stages.common import mnist
from stages.common.errors import InputError, reason
from stages.settings import progress
from stages.settings.params import Imagenet, Resnet
from stages.vision import samples

CHUNK = 256  # images decoded or counted at a time

# timm's evaluation transform without its normalization: from RGB to bytes, uint8 (3, H, W).
Transform = Callable[[Image.Image], torch.Tensor]


class Files(NamedTuple):
    """The chosen photographs of a part."""

    labelled: list[tuple[Path, int]]  # paths (names for samples) and labels
    classes: list[str]
    name: str
    contents: str  # identifies them

    def decoded(self, transform: Transform) -> Path:
        """Where the decoded photographs lie."""
        digest = hashlib.sha256((self.contents + words(transform)).encode()).hexdigest()
        return Path(f"data/images/{self.name}-{len(self.labelled)}-{digest[:12]}.npy")


def digits(settings: Resnet, folder: Path = mnist.FOLDER) -> mnist.Data:
    """The first digits of MNIST, with three equal channels; raises: InputError as `mnist.load`"""
    data = mnist.load(settings.train_images, settings.test_images, folder)
    return mnist.Data(*(part.expand(-1, 3, -1, -1) if part.dim() == 4 else part for part in data))


def photographs(
    settings: Imagenet, transform: Transform, source: str | None, root: Path = Path()
) -> tuple[mnist.Data, list[str]]:
    """The photographs of `chosen`, fetched from `source` and decoded unless they are in data/images.

    returns: images, uint8 (N, 3, H, W), mapped from disk, perhaps none to train on; classes
    raises:  InputError as `chosen`, or if an image is broken or cannot be fetched
    """
    parts, files = {}, chosen(settings, root)
    for part, listed in files.items():
        path = root / listed.decoded(transform)
        if not path.exists():
            folder = samples.fetch(source, root) if settings.data == samples.NAME else Path()
            _decode([folder / name for name, _ in listed.labelled], transform, path)
        pixels = torch.from_numpy(np.load(path, mmap_mode="c"))  # copy on write: a tensor cannot be read-only
        parts[part] = pixels, torch.tensor([label for _, label in listed.labelled])
    pixels, labels = parts["val"]
    return mnist.Data(*parts.get("train", (pixels[:0], labels[:0])), pixels, labels), files["val"].classes


def chosen(settings: Imagenet, root: Path = Path()) -> dict[str, Files]:
    """The photographs of val and perhaps train; raises: InputError if too few, or of different classes"""
    files = {part: _files(settings, part, root) for part in (["train", "val"] if trains(settings) else ["val"])}
    if any(each.classes != files["val"].classes for each in files.values()):
        raise InputError(f"params.yaml: imagenet.data = {settings.data!r}: train/ and val/ differ in classes")
    return files


def trains(settings: Imagenet) -> bool:
    """Whether there are photographs to train on."""
    return settings.data != samples.NAME and Path(settings.data, "train").is_dir()


def source(settings: Imagenet) -> dict[str, str]:
    """What identifies the photographs in a fingerprint."""
    contents = "".join(files.contents for files in chosen(settings).values())
    kind = "samples" if settings.data == samples.NAME else "files"
    return {kind: hashlib.sha256(contents.encode()).hexdigest()}


def words(transform: Transform) -> str:
    """The steps of a transform, as text that identifies it."""
    return " ".join(repr(transform).split())


def statistics(images: torch.Tensor) -> dict[str, list[float]]:
    """By channel: `mean` and `std` of all pixels / 255; `image_std`, the mean over images of their std.

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


def _files(settings: Imagenet, part: str, root: Path) -> Files:
    """Those of a part in a fixed random order that takes one of each class in turn."""
    folder, hashes = Path(settings.data, part), dict[str, str]()
    if settings.data == samples.NAME:
        hashes = samples.read(root)
        found = [(Path(name), name.partition("_")[0]) for name in hashes]
    else:
        shown = sorted(folder.glob("[!.]*/[!.]*"))
        found = [(path, path.parent.name) for path in shown if path.suffix.lower() in IMG_EXTENSIONS]
    key = {"train": "train_images", "val": "test_images"}[part]
    if (count := getattr(settings, key)) > len(found):
        said = f"params.yaml: imagenet.{key} = {count}: imagenet.data = {settings.data!r}"
        raise InputError(f"{said} has {len(found)} in {part}/<class>/; accepted: at most that")
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(0)).tolist()
    turns: dict[str, Iterator[int]] = defaultdict(itertools.count)
    order.sort(key=lambda index: next(turns[found[index][1]]))
    classes = sorted({name for _, name in found})
    labelled = [(path, classes.index(name)) for path, name in map(found.__getitem__, order[:count])]
    if hashes:
        contents = "".join(f"{sha256}  {name}\n" for name, sha256 in hashes.items())
        return Files(labelled, classes, samples.NAME, contents)
    lines = [f"{label} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path, label in labelled]
    lines += [*classes, PIL.__version__]  # another version may decode otherwise
    contents = hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest()
    return Files(labelled, classes, f"{folder.parent.name}-{part}", contents)


def _decode(paths: list[Path], transform: Transform, target: Path) -> None:
    """Writes images as one uint8 array (N, 3, H, W). Threads suffice: Pillow releases Python's lock."""
    shape = (len(paths), *_read(paths[0], transform).shape)
    bar = progress.bar("decode", len(paths), "images", log_seconds=10)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as temporary, ThreadPoolExecutor() as pool, bar:
        part = Path(temporary, target.name)
        with part.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for start in range(0, len(paths), CHUNK):
                for image in pool.map(_read, paths[start : start + CHUNK], itertools.repeat(transform)):
                    file.write(image.numpy().tobytes())
                    bar.update()
        os.replace(part, target)


def _read(path: Path, transform: Transform) -> torch.Tensor:
    try:
        with Image.open(path) as image:
            if image.mode[0] in "IF":  # 16 or 32 bits, which Pillow's conversion clips at 255
                raise ValueError(f"mode {image.mode}; accepted: 8 bits")
            return transform(image.convert("RGB"))
    except Exception as error:  # whatever a damaged image can raise
        raise InputError(f"{path}: no readable image ({reason(error)})") from None
