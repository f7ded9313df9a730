"""A thousand photographs of ImageNet, one of each class: pinned in git by their hashes, fetched when they are needed.

Collected by Eli Schwartz, github.com/EliSchwartz/imagenet-sample-images. Their names begin with WordNet's name of the
class; sorted by it, the classes of ImageNet have the numbers that published networks give them.
"""

import hashlib
import os
import shutil
import socket
import tarfile
import tempfile
from pathlib import Path

from torch.hub import download_url_to_file

from stages.common.errors import InputError

NAME = "samples"  # of this data, as `imagenet.data`
MANIFEST = Path("data/imagenet.sha256")  # as sha256sum writes it: `sha256sum -c` checks a folder
FOLDER = Path("data/images/samples")  # where they lie once they were fetched
COMMIT = "bc69043e2862758a1906c6a24a792bb28c6bb2ff"
ARCHIVE = f"https://github.com/EliSchwartz/imagenet-sample-images/archive/{COMMIT}.tar.gz"
ATTEMPTS = 3
TIMEOUT = 60  # seconds without an answer


def read(root: Path = Path()) -> dict[str, str]:
    """The SHA-256 of each photograph by its name, sorted.

    raises: InputError if the manifest is missing or no such list
    """
    path = root / MANIFEST
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
        if not lines or not all(len(line) == 2 and len(line[0]) == 64 and "/" not in line[1] for line in lines):
            raise ValueError("not a list of SHA-256 and name")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {reason(error)}; `git restore {MANIFEST}` brings it back") from None
    return dict(sorted((name, sha256) for sha256, name in lines))


def text(hashes: dict[str, str]) -> bytes:
    """The manifest as sha256sum writes it: the same however a checkout ends its lines."""
    return "".join(f"{sha256}  {name}\n" for name, sha256 in hashes.items()).encode()


def classes(hashes: dict[str, str]) -> list[str]:
    """WordNet's names of the classes, in order."""
    return [name.partition("_")[0] for name in hashes]


def fetch(hashes: dict[str, str], source: str | None, root: Path = Path()) -> Path:
    """The folder that holds all photographs, each of them checked.

    source: a folder that holds them, which is used as it is; the address of the archive; or nothing: where they were
            put before, else the public archive
    raises: InputError if they are not there and cannot be had
    """
    accepted = f"accepted as run.imagenet: a folder with the {len(hashes)} files of {MANIFEST}, or the address of a tar"
    of_user = source and "://" not in source
    folder, address = Path(source or "").expanduser() if of_user else root / FOLDER, source or ARCHIVE
    if not (wrong := _fault(folder, hashes)):
        return folder
    if of_user:
        raise InputError(f"params.yaml: run.imagenet = {source!r}: {wrong}; {accepted}")
    for _ in range(ATTEMPTS):
        print(f"ImageNet samples: fetching {address}", flush=True)
        try:
            _from_archive(address, folder, hashes)
            return folder
        except Exception as error:  # whatever a network or a damaged archive can raise is its reason
            wrong = f"{address}: {reason(error)}"
            print(f"ImageNet samples: {wrong}", flush=True)
    raise InputError(f"ImageNet samples: cannot be fetched: {wrong}; {accepted}")


def _from_archive(address: str, folder: Path, hashes: dict[str, str]) -> None:
    """Fetches and unpacks the archive; the folder appears whole and checked, or not at all."""

    def flat(member: tarfile.TarInfo, target: str) -> tarfile.TarInfo | None:
        name = Path(member.name).name
        return tarfile.data_filter(member.replace(name=name), target) if name in hashes else None

    folder.parent.mkdir(parents=True, exist_ok=True)
    socket.setdefaulttimeout(TIMEOUT)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".samples-") as temporary:
        packed, unpacked = Path(temporary, "archive"), Path(temporary, "samples")
        download_url_to_file(address, str(packed), progress=False)
        with tarfile.open(packed) as archive:
            archive.extractall(unpacked, filter=flat)
        if wrong := _fault(unpacked, hashes):
            raise ValueError(wrong)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unpacked, folder)


def _fault(folder: Path, hashes: dict[str, str]) -> str | None:
    """The first difference of a folder from the manifest, in words; None if there is none."""
    if not folder.is_dir():
        return "no such folder"
    for name, sha256 in hashes.items():
        try:
            actual = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as error:
            return f"{name}: {error.strerror}"
        if actual != sha256:
            return f"{name}: SHA-256 {actual[:8]}… instead of {sha256[:8]}…"
    return None


def reason(error: Exception) -> str:
    """The message of an error, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
