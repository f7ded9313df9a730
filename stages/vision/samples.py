"""A thousand photographs of ImageNet, one of each class, collected by Eli Schwartz.

Names begin with WordNet's name of the class: sorted, they are in the order of a network's outputs.
"""

import hashlib
import os
import re
import shutil
import socket
import tempfile
from pathlib import Path

from torch.hub import download_url_to_file

from stages.common.errors import InputError, reason

NAME = "samples"  # the value of `imagenet.data` that chooses them
MANIFEST = Path("data/imagenet.sha256")  # as sha256sum writes it: `sha256sum -c` checks a folder
FOLDER = Path("data/images/samples")  # where fetched photographs lie
COMMIT = "bc69043e2862758a1906c6a24a792bb28c6bb2ff"
ARCHIVE = f"https://github.com/EliSchwartz/imagenet-sample-images/archive/{COMMIT}.tar.gz"


def read(root: Path = Path()) -> dict[str, str]:
    """The SHA-256 of each photograph by name, sorted; raises: InputError if the list is damaged"""
    path = root / MANIFEST
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or not all(re.fullmatch(r"[0-9a-f]{64}  [^\s/]+", line) for line in lines):
        raise InputError(f"{path}: is damaged; `git restore {MANIFEST}` brings it back")
    return dict(sorted((name, sha256) for sha256, name in map(str.split, lines)))


def fetch(source: str | None, root: Path = Path()) -> Path:
    """The folder with all photographs, verified; raises: InputError if there is none

    source: a folder, or the address of an archive (None: the public one), fetched once
    """
    hashes, folder = read(root), root / FOLDER
    try:
        if source and "://" not in source:
            folder = Path(source).expanduser()
        elif not folder.exists():
            _unpack(source or ARCHIVE, folder, hashes)
        _verify(folder, hashes)
    except Exception as error:  # whatever a network or a damaged archive can raise
        said = f"params.yaml: run.imagenet = {source!r}: {reason(error)}"
        raise InputError(f"{said}; accepted: the files of {MANIFEST}: a folder, or the address of a tar") from None
    return folder


def _unpack(address: str, folder: Path, hashes: dict[str, str]) -> None:
    """Fetches the archive; the folder appears complete and verified, or not at all."""
    print(f"ImageNet samples: fetching {address}", flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    socket.setdefaulttimeout(60)  # seconds without an answer
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".samples-") as temporary:
        packed, unpacked = Path(temporary, "archive"), Path(temporary, "samples")
        download_url_to_file(address, str(packed), progress=False)
        shutil.unpack_archive(packed, unpacked, "tar", filter="data")
        inside = next(unpacked.rglob(min(hashes)), unpacked / "none").parent
        _verify(inside, hashes)
        os.replace(inside, folder)


def _verify(folder: Path, hashes: dict[str, str]) -> None:
    for name, sha256 in hashes.items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sha256:
            raise ValueError(f"{folder / name} has another SHA-256 than in {MANIFEST}")
