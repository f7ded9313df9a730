"""Normalization, training and test of one network: the protocol of the study."""

import os
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F

from stages.folding import fold
from stages.lenet import LeNet, Masks
from stages.mnist import Data
from stages.params import Train

TEST_BATCH = 200  # images at a time in a test: what they need stays in the processor's cache


class Normalization(NamedTuple):
    """(pixel / 255 - mean) / std."""

    mean: float
    std: float

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """pixels: uint8, 0..255; returns: float32 of the same shape"""
        return pixels.float().div_(255).sub_(self.mean).div_(self.std)


class Init(NamedTuple):
    """What becomes of PyTorch's initial weights of the first convolution, which all else is left out of.

    weight_factor, bias_factor: they are multiplied by these
    folded: the normalization to whose default network the initial network is the same function of the pixels
    """

    weight_factor: float = 1.0
    bias_factor: float = 1.0
    folded: Normalization | None = None


class Test(NamedTuple):
    """accuracy: fraction in [0, 1]; loss: mean negative log-likelihood; predicted: int64 tensor (N,), digits 0..9"""

    accuracy: float
    loss: float
    predicted: torch.Tensor


def evaluate(
    norm: Normalization,
    settings: Train,
    data: Data,
    init: Init = Init(),  # noqa: B008  a tuple, which nobody can change
    progress: Callable[[int], object] | None = None,
) -> tuple[LeNet, torch.Tensor, Test]:
    """Trains a new network on the training images under `norm` and tests it on the test images.

    A pure function of its arguments and of the kind of device that holds `data`: it seeds all random numbers itself and
    fixes whatever else could change a bit of the result, in whichever process it runs.

    progress: called after every step with the number of images seen so far
    returns:  the network; the loss of every step, float32 tensor (steps,); the test
    """
    fix(settings.threads)
    model = initial(norm, settings.seed, init).to(data.train_images.device)
    losses = train(model, data.train_images, data.train_labels, norm, settings, progress)
    return model, losses, test(model, data.test_images, data.test_labels, norm)


def initial(norm: Normalization, seed: int, init: Init) -> LeNet:
    """The network before training under `norm`, on the CPU."""
    torch.manual_seed(seed)
    model = LeNet()
    if init.folded:
        model.conv1.load_state_dict(fold(model.conv1, own=init.folded, new=norm).state_dict())
    with torch.no_grad():
        model.conv1.weight.mul_(init.weight_factor)
        model.conv1.bias.mul_(init.bias_factor)  # type: ignore[union-attr]
    return model


def fix(threads: int) -> None:
    """Fixes for this process what else could change a bit of a result."""
    # Another number of threads splits sums differently, and rounds differently.
    torch.set_num_threads(threads)
    # All kernels used here have a deterministic form on the CPU; where another device has none, warn rather than stop.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    # float32 as the protocol says, also where a device offers less for speed.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    # The optimizer of a dead network divides its averages down to denormals: slow, and far below all rounding here.
    torch.set_flush_denormal(True)


def train(
    model: LeNet,
    images: torch.Tensor,
    labels: torch.Tensor,
    norm: Normalization,
    settings: Train,
    progress: Callable[[int], object] | None = None,
) -> torch.Tensor:
    """Adadelta with a learning rate that falls after every epoch.

    images:  uint8 tensor (N, 1, 28, 28), raw pixels 0..255, on the model's device
    labels:  int64 tensor (N,), on the model's device
    returns: the loss of every step, float32 tensor (steps,), on the CPU
    """
    optimizer = torch.optim.Adadelta(model.parameters(), lr=settings.lr)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=settings.gamma)
    losses, seen = [], 0
    for epoch in range(settings.epochs):
        for batch, masks in _draw(settings, epoch, len(images), images.device).steps:
            optimizer.zero_grad()
            loss = F.nll_loss(model(norm(images[batch]), masks), labels[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())  # still on the device: reading it would wait for the step
            seen += len(batch)
            if progress:
                progress(seen)
        scheduler.step()
    return torch.stack(losses).cpu()


@torch.no_grad()
def test(model: LeNet, images: torch.Tensor, labels: torch.Tensor, norm: Normalization) -> Test:
    """Accuracy and loss on all of `images` (uint8, (N, 1, 28, 28)) with their `labels` (int64, (N,))."""
    log_probabilities = torch.cat([model(norm(part)) for part in images.split(TEST_BATCH)]).cpu().double()
    labels, predicted = labels.cpu(), log_probabilities.argmax(dim=1)
    accuracy = (predicted == labels).sum().item() / len(labels)
    return Test(accuracy, F.nll_loss(log_probabilities, labels).item(), predicted)


class _Draws(NamedTuple):
    steps: list[tuple[torch.Tensor, Masks]]  # of each step: the indices of its images, its dropout masks
    state: torch.Tensor  # of torch's random numbers after the epoch


@lru_cache(maxsize=4)
def _draw(settings: Train, epoch: int, count: int, device: torch.device) -> _Draws:
    """All that is random in one epoch over `count` images, by the seed alone: drawn on the CPU for every device.

    The numbers are drawn as the notebook's loop draws them, one by one, so that a seed means the same training here and
    there, up to rounding. That takes a tenth of the time of a training; as the trials of a study have one seed, they
    share what is kept here (70 MB for an epoch of MNIST).
    """
    if epoch == 0:
        torch.manual_seed(settings.seed)
        LeNet()  # the initial weights are drawn first
    else:
        torch.set_rng_state(_draw(settings, epoch - 1, count, device).state)
    _integer()  # DataLoader draws a seed for its workers, at the start of every epoch
    if settings.shuffle:  # RandomSampler draws a seed for the order
        order = torch.randperm(count, generator=torch.Generator().manual_seed(_integer()))
    else:
        order = torch.arange(count)
    steps = []
    for batch in order.split(settings.batch_size):
        masks = Masks.draw(len(batch))
        steps.append((batch.to(device), Masks(*(part.to(device) for part in masks))))
    return _Draws(steps, torch.get_rng_state())


def _integer() -> int:
    return int(torch.empty((), dtype=torch.int64).random_())
