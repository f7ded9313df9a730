"""A trial of LeNet: a training run and its tests."""

import math
from pathlib import Path
from typing import Any

from stages.common import device, mnist
from stages.common.normalization import Normalization
from stages.lenet.model import silent
from stages.lenet.training import Test, Training, initial, train_and_test
from stages.settings.params import Params

SILENT_IMAGES = 1000  # a unit is silent if it is 0 for so many test images


class LenetTrial:
    """A `study.fingerprint.Trial`."""

    def __init__(self, settings: Params, root: Path = Path()):
        self.cores = settings.train.threads
        self.device = device.prepare(settings.run.device)
        self.data = mnist.load(60_000, settings.data.test_images, root / mnist.FOLDER).to(self.device)

    @staticmethod
    def check(settings: Params) -> None:
        mnist.load(1, 1)

    @staticmethod
    def files(settings: Params) -> list[Path]:
        return [mnist.FOLDER / name for name in mnist.FILES]

    @staticmethod
    def threads(settings: Params) -> int:
        return settings.train.threads

    @staticmethod
    def determinants(settings: Params) -> dict[str, dict]:
        return {
            "data": {"test_images": settings.data.test_images} | mnist.FILES,
            "train": {"threads": settings.train.threads},
        }

    def __call__(
        self,
        mean: float,
        std: float,
        train_images: int,
        held_out: int = 0,
        start_mean: float | None = None,
        start_std: float | None = None,
        **training: Any,
    ) -> dict[str, Any]:
        """A training run on the first `train_images` digits, tested after every epoch.

        held_out: see `mnist.Data.part`
        start_mean, start_std, training: see `Training`
        returns:  accuracies, fractions in [0, 1], also on test images of even and odd index; losses, None if not
                  finite; share of silent units in each layer; kind of device
        """
        device.release_memory()  # of the previous trial
        start = Normalization.of(start_mean, start_std) if start_mean is not None and start_std is not None else None
        norm, run = Normalization.of(mean, std), Training(start=start, **training)
        data = self.data.part(train_images, held_out)
        model, _, tests = train_and_test(norm, run, data, self.cores)
        shown = norm(self.data.test_images[:SILENT_IMAGES])
        before = silent(initial(norm, run).to(self.device), shown)
        last = tests[-1]
        correct = (last.predicted == data.test_labels.cpu()).double()
        return {
            "accuracy": last.accuracy,
            "accuracy_even": correct[::2].mean().item(),
            "accuracy_odd": correct[1::2].mean().item() if len(correct) > 1 else last.accuracy,
            "loss": _finite(last),
            **{f"{layer}_silent_before": share for layer, share in before.items()},
            **{f"{layer}_silent_after": share for layer, share in silent(model, shown).items()},
            "accuracy_by_epoch": [test.accuracy for test in tests],
            "loss_by_epoch": [_finite(test) for test in tests],
            "device": device.describe(self.device),
        }


def _finite(test: Test) -> float | None:
    return test.loss if math.isfinite(test.loss) else None
