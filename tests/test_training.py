"""The protocol: the notebook's network, numbers and accuracies."""

import json
import os
import random
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import notebook
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from torchvision import transforms

from stages.common import device, mnist
from stages.common.normalization import Normalization
from stages.lenet import training
from stages.lenet.model import LeNet, draw_masks
from stages.lenet.training import Training, train_and_test
from stages.lenet.trial import LenetTrial
from stages.settings import params
from stages.study import design

STANDARD = Normalization.of(0.1307, 0.3081)
ZERO_ONE = Normalization.of(0.0, 1.0)
DEAD = Normalization.of(-5.05, 2.47)  # the notebook's loop gives 0.1028 here
SETTINGS = Training(seed=1998, epochs=1, batch_size=64, shuffle=False, optimizer="adadelta", lr=1.0, gamma=0.7)


SGD, ADAM = partial(torch.optim.SGD, lr=0.01, momentum=0.9), partial(torch.optim.Adam, lr=0.001)


@pytest.mark.parametrize(
    ("norm", "shuffle", "name", "optimizer", "close"),
    [
        (STANDARD, False, "adadelta", notebook.ADADELTA, (1e-4, 2e-2)),
        (ZERO_ONE, True, "adadelta", notebook.ADADELTA, (1e-4, 2e-2)),
        (STANDARD, False, "sgd", SGD, (1e-5, 1e-3)),
        (STANDARD, False, "adam", ADAM, (1e-5, 1e-3)),
    ],
)
def test_training_is_the_notebooks_loop_step_by_step(norm, shuffle: bool, name, optimizer, close, digits: Path) -> None:
    images = torch.utils.data.Subset(notebook.load(digits, norm.mean[0], norm.std[0], train=True), range(300))
    _, theirs = notebook.train(images, epochs=2, shuffle=shuffle, optimizer_of=optimizer)
    settings = SETTINGS._replace(epochs=2, shuffle=shuffle, optimizer=name, **optimizer.keywords)
    ours = train_and_test(norm, settings, mnist.load(300, 10, digits)).losses
    # Same weights, images and dropout: only rounding differs, and training lets it grow.
    assert len(ours) == len(theirs) == 10
    np.testing.assert_allclose(ours[:5], theirs[:5], rtol=close[0])
    np.testing.assert_allclose(ours, theirs, rtol=close[1])


def test_optimizer_imports_no_compiler() -> None:
    script = """
import sys
from stages.common.determinism import fix
from stages.lenet import training

fix(1)
run = training.Training(1, 1, 1, shuffle=False, optimizer="adadelta", lr=1.0, gamma=1.0)
training._optimizer(training.LeNet(), run).step()
print("torch._dynamo" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"  # it takes seconds, and a fifth of a worker's memory


@pytest.mark.parametrize("norm", [STANDARD, ZERO_ONE, DEAD, Normalization.of(5.0, 0.5)])
def test_network_and_gradient_are_the_notebooks(norm: Normalization, data: mnist.Data) -> None:
    torch.manual_seed(3)
    ours = LeNet()
    torch.manual_seed(3)
    theirs = notebook.Net()
    images, labels = norm(data.train_images[:64]), data.train_labels[:64]
    torch.manual_seed(4)
    F.nll_loss(ours(images, draw_masks(64)), labels).backward()
    torch.manual_seed(4)
    F.nll_loss(theirs(images), labels).backward()

    assert torch.allclose(ours(images), theirs.eval()(images), atol=1e-5)
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        assert (mine.grad - other.grad).abs().max() <= 1e-4 * other.grad.abs().max(), name


def test_normalization_is_torchvisions_bit_for_bit(data: mnist.Data) -> None:
    for norm in (STANDARD, ZERO_ONE, DEAD):
        theirs = transforms.Compose([transforms.ToTensor(), transforms.Normalize(norm.mean, norm.std)])
        image = data.train_images[7]
        assert torch.equal(norm(image), theirs(image[0].numpy()))


def test_training_depends_on_its_arguments_alone(data: mnist.Data) -> None:
    model, losses, (test,) = train_and_test(STANDARD, SETTINGS, data)
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    torch.set_num_threads(2)
    training._drawn.cache_clear()
    again, again_losses, (again_test,) = train_and_test(STANDARD, SETTINGS, data)
    assert torch.equal(losses, again_losses)
    assert torch.equal(test.predicted, again_test.predicted)
    assert test[:2] == again_test[:2]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert not torch.equal(losses, train_and_test(STANDARD, SETTINGS._replace(seed=1999), data).losses)


def test_standard_normalization_learns_and_a_distant_one_is_dead(data: mnist.Data, digits: Path) -> None:
    assert train_and_test(STANDARD, SETTINGS, mnist.load(3200, 400, digits)).tests[-1].accuracy > 0.9
    assert train_and_test(DEAD, SETTINGS, data).tests[-1].accuracy < 0.2


def test_long_run_is_also_the_shorter_ones(data: mnist.Data) -> None:
    data, settings, seen = data.part(320, 0), SETTINGS._replace(epochs=3, batch_size=160), list[int]()
    _, losses, tests = train_and_test(STANDARD, settings, data, progress=seen.append)
    assert len(losses) == 3 * 2
    assert sum(seen) == 3 * 320
    for epochs in (1, 2):
        shorter = train_and_test(STANDARD, settings._replace(epochs=epochs), data)
        assert torch.equal(shorter.losses, losses[: 2 * epochs])
        assert [test[:2] for test in shorter.tests] == [test[:2] for test in tests[:epochs]]


def test_held_out_images_are_the_last_of_training(digits: Path) -> None:
    whole = mnist.load(60_000, 100, digits)
    part = whole.part(train_images=500, held_out=10_000)
    assert torch.equal(part.train_images, whole.train_images[:500])
    assert torch.equal(part.test_images, whole.train_images[50_000:])
    assert torch.equal(part.test_labels, whole.train_labels[50_000:])
    assert torch.equal(whole.part(500, 0).test_images, whole.test_images)


def test_trial_tells_its_tests_after_every_epoch(data: mnist.Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist, "load", lambda *_: data)
    settings = params.load(ROOT / "params.yaml")
    parameters: dict[str, Any] = design.trial_parameters(settings, params.Overrides(epochs=2, train_images=320))
    result = LenetTrial(settings)(0.1307, 0.3081, **parameters)
    tests = train_and_test(STANDARD, SETTINGS._replace(epochs=2), data.part(320, 0)).tests
    assert result["accuracy_by_epoch"] == [test.accuracy for test in tests]
    assert result["loss_by_epoch"] == [test.loss for test in tests]
    assert (result["accuracy"], result["loss"]) == tests[-1][:2]
    assert (result["accuracy_even"] + result["accuracy_odd"]) / 2 == pytest.approx(result["accuracy"])
    assert set(json.loads(json.dumps(result))) == set(result)
    held_out = LenetTrial(settings)(0.1307, 0.3081, **parameters | {"held_out": 320})
    assert held_out["accuracy"] != result["accuracy"]
    diverged = LenetTrial(settings)(0.1307, 0.3081, **parameters | {"lr": 1e38})
    assert (diverged["loss"], diverged["loss_by_epoch"]) == (None, [None, None])


@pytest.mark.skipif(not device.GLIBC, reason="only glibc is told to keep memory")
def test_memory_between_what_is_kept_is_given_back_after_a_trial() -> None:
    device.prepare("cpu")
    pairs = [(torch.ones(2**18), torch.ones(2**10)) for _ in range(400)]  # 1 MiB, that a trial frees; 4 KiB, kept
    kept = [small for _, small in pairs]
    del pairs
    before = resident()
    device.release_memory()
    assert len(kept) == 400
    assert before - resident() > 300 * 2**20


def resident() -> int:
    """The bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
