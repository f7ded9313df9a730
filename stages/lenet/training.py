"""Training and test of LeNet: the protocol of the study."""

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn, optim

from stages.common.determinism import fix
from stages.common.folding import fold
from stages.common.mnist import Data
from stages.common.normalization import Normalization
from stages.lenet.model import MASK_BYTES, LeNet, draw_masks

TEST_BATCH = 50  # images at a time in a test: what they need stays in the processor's cache


class Training(NamedTuple):
    """All parameters of a training run except its normalization; params.yaml explains them under `train`.

    weight_factor, bias_factor: the initial weights and biases of the first convolution are multiplied by these
    start: the normalization to whose default network the initial network is the same function of the pixels
    """

    seed: int
    epochs: int
    batch_size: int
    shuffle: bool
    optimizer: Literal["adadelta", "sgd", "adam"]
    lr: float
    gamma: float
    momentum: float = 0.0  # of sgd
    init: Literal["default", "he_normal", "zero_bias"] = "default"
    weight_factor: float = 1.0
    bias_factor: float = 1.0
    start: Normalization | None = None


class Test(NamedTuple):
    """accuracy: fraction in [0, 1]; loss: mean negative log-likelihood; predicted: int64 tensor (N,), digits 0..9"""

    accuracy: float
    loss: float
    predicted: torch.Tensor


class Outcome(NamedTuple):
    """model: the trained network; losses: of every step, float32 tensor (steps,), on the CPU; tests: one each epoch"""

    model: LeNet
    losses: torch.Tensor
    tests: list[Test]


def train_and_test(
    norm: Normalization,
    training: Training,
    data: Data,
    threads: int = 1,
    progress: Callable[[int], object] | None = None,
) -> Outcome:
    """Trains a new network on the training images under `norm` and tests it on the test images after every epoch.

    The learning rate falls after every epoch, whatever the number of epochs: a run of 14 is also the run of 5.

    A pure function of its arguments and of the kind of device that holds `data`: it seeds all random numbers itself and
    fixes whatever else could change a bit of the result, in whichever process it runs.

    progress: called after every step with the number of images seen so far
    """
    fix(threads)
    images, labels = data.train_images, data.train_labels
    model = initial(norm, training).to(images.device)
    optimizer = _optimizer(model, training)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=training.gamma)
    losses = torch.empty(training.epochs, -(-len(images) // training.batch_size), device=images.device)
    tests, seen = [], 0
    for epoch in range(training.epochs):
        steps, _ = _drawn(training.seed, training.batch_size, training.shuffle, epoch, len(images), images.device)
        for step, (batch, masks) in enumerate(steps):
            model.zero_grad()
            loss = F.nll_loss(model(norm(images[batch]), masks), labels[batch])
            loss.backward()
            optimizer.step()
            losses[epoch, step] = loss.detach()  # on the device: reading it would wait for the step
            seen += len(batch)
            if progress:
                progress(seen)
        scheduler.step()
        tests.append(test(model, data.test_images, data.test_labels, norm))
    return Outcome(model, losses.flatten().cpu(), tests)


def initial(norm: Normalization, training: Training) -> LeNet:
    """The network before training under `norm`, on the CPU."""
    torch.manual_seed(training.seed)
    model = LeNet()
    # Drawn apart, so that what the seed draws next does not depend on the initial weights.
    generator = torch.Generator().manual_seed(training.seed)
    for layer in (model.conv1, model.conv2, model.fc1, model.fc2):
        if training.init == "he_normal":
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
        if training.init != "default":
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    with torch.no_grad():
        if training.start:
            model.conv1 = fold(model.conv1, own=training.start, new=norm)
        model.conv1.weight.mul_(training.weight_factor)
        model.conv1.bias.mul_(training.bias_factor)  # type: ignore[union-attr]
    return model


@torch.no_grad()
def test(model: LeNet, images: torch.Tensor, labels: torch.Tensor, norm: Normalization) -> Test:
    """Accuracy and loss on all of `images` (uint8, (N, 1, 28, 28)) with their `labels` (int64, (N,))."""
    log_probabilities = torch.cat([model(norm(part)) for part in images.split(TEST_BATCH)]).cpu().double()
    labels, predicted = labels.cpu(), log_probabilities.argmax(dim=1)
    accuracy = (predicted == labels).sum().item() / len(labels)
    return Test(accuracy, F.nll_loss(log_probabilities, labels).item(), predicted)


def _optimizer(model: LeNet, training: Training) -> optim.Optimizer:
    kind = {"adadelta": optim.Adadelta, "sgd": optim.SGD, "adam": optim.Adam}[training.optimizer]
    options = {"momentum": training.momentum} if training.optimizer == "sgd" else {}
    return _eager(kind)(model.parameters(), lr=training.lr, **options)


def _eager(kind: type) -> type:
    """The optimizer without its hooks for torch.compile, which cost a process 1.5 s and 150 of 690 MB."""
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in ("add_param_group", "step")}
    return type(kind.__name__, (kind,), methods | {"step": torch.no_grad()(methods["step"])})


@lru_cache(maxsize=1)
def _drawn(
    seed: int, batch_size: int, shuffle: bool, epoch: int, count: int, device: torch.device
) -> tuple[list, torch.Tensor]:
    """All that is random in one epoch over `count` images, by the seed alone; on the CPU for every device.

    The numbers are drawn as the notebook's loop draws them, one by one, so a seed means the same training run here and
    there, up to rounding. As the trials of a search have one seed, they share the last epoch drawn: a run of one epoch
    takes 7% less time (median of seven alternating pairs: 4 to 10%).

    returns: for each step the indices of its images and its dropout masks; the state of torch's random numbers then
    """
    if epoch == 0:
        torch.manual_seed(seed)
        LeNet()  # the initial weights are drawn first
    else:
        torch.set_rng_state(_drawn(seed, batch_size, shuffle, epoch - 1, count, device)[1])
    _integer()  # DataLoader draws a seed for its workers, at the start of every epoch
    if shuffle:  # RandomSampler draws a seed for the order
        order = torch.randperm(count, generator=torch.Generator().manual_seed(_integer()))
    else:
        order = torch.arange(count)
    masks = torch.empty(count, MASK_BYTES, dtype=torch.uint8)
    for part in masks.split(batch_size):  # in one piece: kept apart, they cost a worker 450 MB, between what is freed
        part.copy_(draw_masks(len(part)))
    steps = zip(order.to(device).split(batch_size), masks.to(device).split(batch_size), strict=True)
    return list(steps), torch.get_rng_state()


def _integer() -> int:
    return int(torch.empty((), dtype=torch.int64).random_())
