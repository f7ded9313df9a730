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

TEST_BATCH = 50  # images at a time in a test: few enough for the processor's cache


class Training(NamedTuple):
    """The parameters of a training run except its normalization; params.yaml explains them under `train`."""

    seed: int
    epochs: int
    batch_size: int
    shuffle: bool
    optimizer: Literal["adadelta", "sgd", "adam"]
    lr: float
    gamma: float
    momentum: float = 0.0  # of sgd
    init: Literal["default", "he_normal", "zero_bias"] = "default"
    start: Normalization | None = None  # begin with the function that the initial network computes under this


class Test(NamedTuple):
    """accuracy: fraction in [0, 1]; loss: mean negative log-likelihood; predicted: int64 tensor (N,), digits 0..9"""

    accuracy: float
    loss: float
    predicted: torch.Tensor


class Outcome(NamedTuple):
    """losses: of every training step, float32 tensor (steps,), on the CPU; tests: one for each epoch"""

    model: LeNet
    losses: torch.Tensor
    tests: list[Test]


def train_and_test(
    norm: Normalization,
    training: Training,
    data: Data,
    threads: int = 1,
    progress: Callable[[int], object] = lambda images: None,
) -> Outcome:
    """Trains a new network under `norm` and tests it after every epoch.

    A pure function of its arguments and of the kind of device that holds `data`, in any process. The learning rate
    does not depend on the number of epochs, so a run of 14 epochs contains the run of 5.

    progress: called after every step with the number of its images
    """
    fix(threads)
    images, labels = data.train_images, data.train_labels
    model = initial(norm, training).to(images.device)
    optimizer = _optimizer(model, training)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=training.gamma)
    losses = torch.empty(training.epochs, -(-len(images) // training.batch_size), device=images.device)
    tests = []
    for epoch in range(training.epochs):
        steps, _ = _drawn(training.seed, training.batch_size, training.shuffle, epoch, len(images), images.device)
        for step, (batch, masks) in enumerate(steps):
            model.zero_grad()
            loss = F.nll_loss(model(norm(images[batch]), masks), labels[batch])
            loss.backward()
            optimizer.step()
            losses[epoch, step] = loss.detach()  # stays on the device: reading it would wait for the step
            progress(len(batch))
        scheduler.step()
        tests.append(test(model, data.test_images, data.test_labels, norm))
    return Outcome(model, losses.flatten().cpu(), tests)


def initial(norm: Normalization, training: Training) -> LeNet:
    """The untrained network, on the CPU."""
    torch.manual_seed(training.seed)
    model = LeNet()
    # A separate generator, so that later random numbers do not depend on `init`.
    generator = torch.Generator().manual_seed(training.seed)
    for layer in (model.conv1, model.conv2, model.fc1, model.fc2):
        if training.init == "he_normal":
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
        if training.init != "default":
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    if training.start:
        model.conv1 = fold(model.conv1, own=training.start, new=norm)
    return model


def test(model: LeNet, images: torch.Tensor, labels: torch.Tensor, norm: Normalization) -> Test:
    """images: uint8 tensor (N, 1, 28, 28); labels: int64 tensor (N,)"""
    outputs, labels = log_probabilities(model, images, norm).double(), labels.cpu()
    predicted = outputs.argmax(dim=1)
    accuracy = (predicted == labels).sum().item() / len(labels)
    return Test(accuracy, F.nll_loss(outputs, labels).item(), predicted)


@torch.no_grad()
def log_probabilities(model: LeNet, images: torch.Tensor, norm: Normalization) -> torch.Tensor:
    """float32 (N, 10), on the CPU, for images as in `test`"""
    return torch.cat([model(norm(part)) for part in images.split(TEST_BATCH)]).cpu()


def _optimizer(model: LeNet, training: Training) -> optim.Optimizer:
    kind = {"adadelta": optim.Adadelta, "sgd": optim.SGD, "adam": optim.Adam}[training.optimizer]
    options = {"momentum": training.momentum} if training.optimizer == "sgd" else {}
    return _eager(kind)(model.parameters(), lr=training.lr, **options)


def _eager(kind: type) -> type:
    """The optimizer without its hooks for torch.compile, which cost each process 1.5 s and 150 of 690 MB."""
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in ("add_param_group", "step")}
    return type(kind.__name__, (kind,), methods | {"step": torch.no_grad()(methods["step"])})


@lru_cache(maxsize=1)
def _drawn(
    seed: int, batch_size: int, shuffle: bool, epoch: int, count: int, device: torch.device
) -> tuple[list, torch.Tensor]:
    """All random numbers of an epoch over `count` images, drawn on the CPU, whatever the device.

    They are drawn in the order of the notebook: up to rounding, a seed gives the same training run in both. The last
    epoch is cached, as the trials of a search share their seed: a run of one epoch takes 7% less time.

    returns: indices of images and dropout masks for each step; torch's random state after the epoch
    """
    if epoch == 0:
        torch.manual_seed(seed)
        LeNet()  # the initial weights are drawn first
    else:
        torch.set_rng_state(_drawn(seed, batch_size, shuffle, epoch - 1, count, device)[1])
    _integer()  # DataLoader draws a seed for its workers in every epoch
    if shuffle:  # RandomSampler draws a seed for the order
        order = torch.randperm(count, generator=torch.Generator().manual_seed(_integer()))
    else:
        order = torch.arange(count)
    masks = torch.empty(count, MASK_BYTES, dtype=torch.uint8)
    for part in masks.split(batch_size):  # one tensor: separate masks fragment memory, 450 MB per worker
        part.copy_(draw_masks(len(part)))
    steps = zip(order.to(device).split(batch_size), masks.to(device).split(batch_size), strict=True)
    return list(steps), torch.get_rng_state()


def _integer() -> int:
    return int(torch.empty((), dtype=torch.int64).random_())
