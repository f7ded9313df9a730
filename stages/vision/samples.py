"""A thousand photographs of ImageNet, one of each class: pinned in git by their hashes, fetched when needed.

Collected by Eli Schwartz. Their names begin with WordNet's name of the class. In this order, ImageNet's classes have
the numbers of the outputs of published networks.
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
ATTEMPTS = 3
TIMEOUT = 60  # seconds without an answer


def read(root: Path = Path()) -> dict[str, str]:
    """The SHA-256 of each photograph by name, sorted; raises: InputError if the manifest is damaged"""
    path = root / MANIFEST
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or not all(re.fullmatch(r"[0-9a-f]{64}  [^\s/]+", line) for line in lines):
        raise InputError(f"{path}: no list of SHA-256 and name; `git restore {MANIFEST}` brings it back")
    return dict(sorted((name, sha256) for sha256, name in map(str.split, lines)))


def fetch(source: str | None, root: Path = Path()) -> Path:
    """The folder with all photographs, verified; raises: InputError if they are missing and cannot be fetched

    source: a folder, or the address of an archive (None: the public one) that is fetched if it was not fetched before
    """
    hashes = read(root)
    of_user = source and "://" not in source
    folder, address = Path(source or "").expanduser() if of_user else root / FOLDER, source or ARCHIVE
    said, wrong = f"params.yaml: run.imagenet = {source!r}", _fault(folder, hashes)
    for _ in range(ATTEMPTS if wrong and not of_user else 0):
        print(f"ImageNet samples: fetching {address}", flush=True)
        try:
            _from_archive(address, folder, hashes)
            return folder
        except Exception as error:  # whatever a network or a damaged archive can raise
            said, wrong = "ImageNet samples: cannot be fetched", f"{address}: {reason(error)}"
            print(f"ImageNet samples: {wrong}", flush=True)
    if wrong:
        accepted = f"a folder with the {len(hashes)} files of {MANIFEST}, or the address of a tar"
        raise InputError(f"{said}: {wrong}; accepted as run.imagenet: {accepted}")
    return folder


def _from_archive(address: str, folder: Path, hashes: dict[str, str]) -> None:
    """Fetches and unpacks the archive; the folder appears complete and verified, or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    socket.setdefaulttimeout(TIMEOUT)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".samples-") as temporary:
        packed, unpacked = Path(temporary, "archive"), Path(temporary, "samples")
        download_url_to_file(address, str(packed), progress=False)
        shutil.unpack_archive(packed, unpacked, "tar", filter="data")
        inside = next(unpacked.rglob(min(hashes)), unpacked / "none").parent
        if wrong := _fault(inside, hashes):
            raise ValueError(wrong)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(inside, folder)


def _fault(folder: Path, hashes: dict[str, str]) -> str | None:
    """The first difference between folder and manifest, in words; None if there is none."""
    for name, sha256 in hashes.items():
        try:
            actual = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as error:
            return f"{name}: {error.strerror}" if folder.is_dir() else "no such folder"
        if actual != sha256:
            return f"{name}: SHA-256 {actual[:8]}… instead of {sha256[:8]}…"
    return None
