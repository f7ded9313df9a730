"""One trial: a training and a test, as a worker runs it."""

from pathlib import Path
from typing import TypedDict

import numpy as np

from stages import device, mnist
from stages.params import Params
from stages.training import Normalization, evaluate


class Result(TypedDict):
    """What the evaluation of a trial gave."""

    accuracy: float  # on the test images, fraction in [0, 1]
    accuracy_even: float  # on those of even index
    accuracy_odd: float  # on those of odd index
    loss: float | None  # mean negative log-likelihood; None where it is no number
    device: str  # the kind that it ran on: other kinds round differently


class Evaluation:
    """Evaluates trials in this process, with data that it reads once.

    folder: where the MNIST files are
    """

    def __init__(self, settings: Params, folder: Path = mnist.FOLDER):
        self.settings = settings
        self.device = device.prepare(settings.run.device)
        self.data = mnist.load(settings.data.train_images, settings.data.test_images, folder).to(self.device)

    def __call__(self, number: int, mean: float, std: float) -> Result:
        """A training and a test under (mean, std); the number of the trial only names the task."""
        _, _, test = evaluate(Normalization(mean, std), self.settings.train, self.data)
        correct = (test.predicted == self.data.test_labels.cpu()).double()
        return {
            "accuracy": test.accuracy,
            "accuracy_even": correct[::2].mean().item(),
            "accuracy_odd": correct[1::2].mean().item() if len(correct) > 1 else test.accuracy,
            "device": device.describe(self.device),
            "loss": test.loss if np.isfinite(test.loss) else None,
        }
