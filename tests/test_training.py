"""The protocol: the notebook's network, numbers and accuracies."""

import os
import random
from pathlib import Path

import notebook
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision import transforms

from stages import device, mnist, params, training
from stages.lenet import LeNet, Masks, pack, unpack
from stages.training import Normalization

STANDARD = Normalization(0.1307, 0.3081)
DEAD = Normalization(-5.05, 2.47)  # the notebook's loop gives 0.1028 here
SETTINGS = params.Train(epochs=1, batch_size=64, lr=1.0, gamma=0.7, seed=1998, shuffle=False, threads=1)


@pytest.fixture(scope="module")
def data(digits: Path) -> mnist.Data:
    return mnist.load(1280, 400, digits)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("norm", [STANDARD, Normalization(0.0, 1.0)])
def test_training_is_the_notebooks_loop_step_by_step(norm: Normalization, shuffle: bool, digits: Path) -> None:
    images = torch.utils.data.Subset(notebook.load(digits, *norm, train=True), range(600))
    _, theirs = notebook.train(images, epochs=2, shuffle=shuffle)
    settings = SETTINGS.model_copy(update={"epochs": 2, "shuffle": shuffle})
    _, ours, _ = training.evaluate(norm, settings, mnist.load(600, 10, digits))
    # Same weights, images and dropout: only rounding differs, and training lets it grow.
    assert len(ours) == len(theirs) == 20
    np.testing.assert_allclose(ours[:5], theirs[:5], rtol=1e-4)
    np.testing.assert_allclose(ours, theirs, rtol=2e-2)


@pytest.mark.parametrize("norm", [STANDARD, Normalization(0.0, 1.0), DEAD, Normalization(5.0, 0.5)])
def test_network_and_gradient_are_the_notebooks(norm: Normalization, data: mnist.Data) -> None:
    torch.manual_seed(3)
    ours = LeNet()
    torch.manual_seed(3)
    theirs = notebook.Net()
    images, labels = norm(data.train_images[:64]), data.train_labels[:64]
    torch.manual_seed(4)
    masks = Masks.draw(64)
    F.nll_loss(ours(images, masks), labels).backward()
    torch.manual_seed(4)
    F.nll_loss(theirs(images), labels).backward()

    assert torch.allclose(ours(images), theirs.eval()(images), atol=1e-5)
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        assert (mine.grad - other.grad).abs().max() <= 1e-4 * other.grad.abs().max(), name


def test_normalization_is_torchvisions_bit_for_bit(data: mnist.Data) -> None:
    for norm in (STANDARD, Normalization(0.0, 1.0), DEAD):
        theirs = transforms.Compose([transforms.ToTensor(), transforms.Normalize((norm.mean,), (norm.std,))])
        image = data.train_images[7]
        assert torch.equal(norm(image), theirs(image[0].numpy()))


def test_packed_masks_come_back() -> None:
    mask = torch.rand(24, 5) < 0.5
    assert torch.equal(unpack(pack(mask)).view(24, 5), mask)


def test_evaluation_depends_on_its_arguments_alone(data: mnist.Data) -> None:
    model, losses, test = training.evaluate(STANDARD, SETTINGS, data)
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    torch.set_num_threads(2)
    training._draw.cache_clear()
    again, again_losses, again_test = training.evaluate(STANDARD, SETTINGS, data)
    assert torch.equal(losses, again_losses)
    assert torch.equal(test.predicted, again_test.predicted)
    assert test[:2] == again_test[:2]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))

    other = SETTINGS.model_copy(update={"seed": 1999})
    assert not torch.equal(losses, training.evaluate(STANDARD, other, data)[1])


def test_standard_normalization_learns_and_a_distant_one_is_dead(digits: Path) -> None:
    data = mnist.load(6400, 1000, digits)
    assert training.evaluate(STANDARD, SETTINGS, data)[2].accuracy > 0.9
    assert training.evaluate(DEAD, SETTINGS, data)[2].accuracy < 0.2


def test_diverged_training_is_a_result(data: mnist.Data) -> None:
    _, _, test = training.evaluate(STANDARD, SETTINGS.model_copy(update={"lr": 1e38}), data)
    assert np.isnan(test.loss)
    assert 0 <= test.accuracy < 0.2


def test_epochs_are_those_trained(data: mnist.Data) -> None:
    settings = SETTINGS.model_copy(update={"epochs": 3, "batch_size": 640})
    seen: list[int] = []
    _, losses, _ = training.evaluate(STANDARD, settings, data, progress=seen.append)
    assert len(losses) == 3 * 2
    assert seen[-1] == 3 * 1280


def test_learning_rate_falls_after_every_epoch(data: mnist.Data) -> None:
    settings = SETTINGS.model_copy(update={"epochs": 2, "batch_size": 640})
    same, fallen = (
        training.evaluate(STANDARD, settings.model_copy(update={"gamma": gamma}), data)[1] for gamma in (1.0, 0.1)
    )
    assert torch.equal(same[:3], fallen[:3])  # the third step's loss is computed before its update
    assert not torch.equal(same[3:], fallen[3:])


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
