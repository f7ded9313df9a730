"""One trial: a training of LeNet and its test, as a worker runs it."""

from pathlib import Path
from types import ModuleType
from typing import ClassVar, TypedDict

import numpy as np

from stages import device, folding, lenet, mnist, training
from stages.params import Params
from stages.training import Init, Normalization

SILENT_IMAGES = 1000  # test images for which a unit must be 0 to count as silent


class Result(TypedDict):
    """What the evaluation of a trial gave."""

    accuracy: float  # on the test images, fraction in [0, 1]
    accuracy_even: float  # on those of even index
    accuracy_odd: float  # on those of odd index
    loss: float | None  # mean negative log-likelihood; None where it is no number
    silent_before: dict[str, float]  # the share of silent units, by layer (see `lenet.silent`): before the training
    silent_after: dict[str, float]  # and after it
    device: str  # the kind that it ran on: other kinds round differently


class Evaluation:
    """Evaluates trials in this process, with data that it reads once.

    root: the folder that the project's data lie in
    """

    MODULES: ClassVar[tuple[ModuleType, ...]] = (folding, lenet, mnist, training)  # whose code determines the results

    def __init__(self, settings: Params, root: Path = Path()):
        self.settings = settings
        self.device = device.prepare(settings.run.device)
        data = mnist.load(settings.data.train_images, settings.data.test_images, root / mnist.FOLDER)
        self.data = data.to(self.device)

    @staticmethod
    def check(settings: Params) -> None:
        """raises: InputError if what it reads is not there or is damaged"""
        mnist.load(1, 1)

    @staticmethod
    def files(settings: Params) -> list[Path]:
        """The files that it reads."""
        return [mnist.FOLDER / name for name in mnist.FILES]

    @staticmethod
    def threads(settings: Params) -> int:
        """How many CPU threads one evaluation uses."""
        return settings.train.threads

    @staticmethod
    def determinants(settings: Params) -> dict[str, dict]:
        """The settings and the data that determine the results, beside the parameters of the trial."""
        hashes = {name: sha256 for name, (_, sha256) in mnist.FILES.items()}
        return {"data": settings.data.model_dump() | hashes, "train": settings.train.model_dump()}

    def __call__(
        self,
        mean: float,
        std: float,
        weight_factor: float = 1.0,
        bias_factor: float = 1.0,
        folded_mean: float | None = None,
        folded_std: float | None = None,
        **train: int,
    ) -> Result:
        """A training and a test under (mean, std).

        weight_factor, bias_factor, folded_mean, folded_std: of the initial weights (see `training.Init`)
        train: settings of `train` that this trial has other values of, such as seed or epochs
        """
        device.release_memory()  # of the trial before
        norm = Normalization(mean, std)
        folded = Normalization(folded_mean, folded_std) if folded_mean is not None and folded_std is not None else None
        init = Init(weight_factor, bias_factor, folded)
        settings = self.settings.train.model_copy(update=train)
        model, _, test = training.evaluate(norm, settings, self.data, init)
        before = training.initial(norm, settings.seed, init).to(self.device)
        correct = (test.predicted == self.data.test_labels.cpu()).double()
        shown = norm(self.data.test_images[:SILENT_IMAGES])
        return {
            "accuracy": test.accuracy,
            "accuracy_even": correct[::2].mean().item(),
            "accuracy_odd": correct[1::2].mean().item() if len(correct) > 1 else test.accuracy,
            "device": device.describe(self.device),
            "loss": test.loss if np.isfinite(test.loss) else None,
            "silent_before": lenet.silent(before, shown),
            "silent_after": lenet.silent(model, shown),
        }
