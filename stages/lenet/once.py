"""One training run, reported in full, for the stages `baseline` and `zero_one`."""

import itertools
import math
from pathlib import Path

import torch

from stages.common import device, files, mnist
from stages.common.normalization import Normalization
from stages.lenet.training import Training, train_and_test
from stages.settings import progress
from stages.settings.params import Params

CURVE_POINTS = 50  # of the learning curve, for each epoch


def train_once(name: str, norm: Normalization, settings: Params) -> None:
    """Trains and tests a network under `norm`; writes its weights, metrics, tables for plots, and the machine."""
    runs_on = device.prepare(settings.run.device)
    train = settings.train
    training = Training(lr=train.lr[train.optimizer], **train.model_dump(exclude={"lr", "threads"}))
    data = mnist.load(settings.data.train_images, settings.data.test_images).to(runs_on)
    images, machine = settings.data.train_images, device.describe(runs_on)
    print(f"{name}: mean {norm.mean[0]:g}, std {norm.std[0]:g}, {images:,} images on {machine}", flush=True)
    with progress.bar(name, images * training.epochs, "images", log_seconds=10) as bar:
        outcome = train_and_test(norm, training, data, train.threads, bar.update)
    test, plots = outcome.tests[-1], Path("plots", name)
    files.write_model(Path(f"data/models/{name}.pt"), outcome.model)
    files.write_csv(plots / "learning_curve.csv", ("images", "loss"), _curve(outcome.losses, settings))
    predictions = zip(data.test_labels.tolist(), test.predicted.tolist(), strict=True)
    files.write_csv(plots / "predictions.csv", ("actual", "predicted"), predictions)
    by_epoch = ((epoch, test.accuracy, test.loss) for epoch, test in enumerate(outcome.tests, 1))
    files.write_csv(plots / "epochs.csv", ("epoch", "accuracy", "loss"), by_epoch)
    files.write_json(Path(f"metrics/{name}.json"), {"accuracy": test.accuracy, "loss": test.loss})
    files.write_machine(Path(f"data/machine/{name}.json"), machine)
    diverged = "" if math.isfinite(test.loss) else " (diverged: try a smaller learning rate)"
    tested = f"{len(test.predicted):,} test images"
    print(f"{name}: accuracy {test.accuracy:.4f}, loss {test.loss:.4f} on {tested}{diverged}")


def _curve(losses: torch.Tensor, settings: Params) -> list[tuple[int, float]]:
    """(images seen, mean loss of the steps since the previous point)"""
    images, train = settings.data.train_images, settings.train
    of_epoch = len(losses) // train.epochs
    parts = losses.double().tensor_split(min(CURVE_POINTS * train.epochs, len(losses)))
    steps = itertools.accumulate(map(len, parts))
    seen = (step // of_epoch * images + step % of_epoch * train.batch_size for step in steps)
    return list(zip(seen, (part.mean().item() for part in parts), strict=True))
