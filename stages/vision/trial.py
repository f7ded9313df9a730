"""One trial of ResNet, as a worker runs it: a trained network under another normalization, or a training run."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F

from stages.common import determinism, device, mnist
from stages.common.normalization import Normalization
from stages.settings.params import Params, Resnet
from stages.vision import images, model, treatments
from stages.vision.treatments import TREATMENTS, Treatment

MODEL = Path("data/models/resnet.pt")
SCRATCH_KEYS = {"arch", "batch_size", "threads", "train"}  # under resnet, read by a training run from scratch
TREATMENT_KEYS = {
    *("arch", "data", "size", "crop", "train_images", "test_images", "batch_size", "seed", "threads"),
    *("recalibration_images", "fine_tune"),
}

Result = dict[str, float | int | str]


class _VisionTrial:
    """A trial's images and device.

    root: the folder that the project's data lie in
    """

    def __init__(self, settings: Params, root: Path = Path()):
        self.settings = self.resnet(settings)
        self.device = device.prepare(settings.run.device)
        determinism.fix(self.settings.threads)
        self.data = images.load(self.settings, root / mnist.FOLDER, root / images.CACHE)

    @staticmethod
    def resnet(settings: Params) -> Resnet:
        """The settings of the trial."""
        return settings.resnet

    @classmethod
    def check(cls, settings: Params) -> None:
        """raises: InputError if a file that the trial reads is missing or damaged"""
        images.load(cls.resnet(settings))

    @staticmethod
    def files(settings: Params) -> list[Path]:
        """The files that a trial reads, but for a folder of images: it must have the same path everywhere."""
        return [mnist.FOLDER / name for name in mnist.FILES]

    @staticmethod
    def threads(settings: Params) -> int:
        """The number of CPU threads that a trial uses."""
        return settings.resnet.threads

    def measured(self, outputs: torch.Tensor) -> Result:
        """outputs: logits (N, classes) on the `val` images"""
        labels = self.data.val.labels
        odd = slice(1, None, 2) if len(labels) > 1 else slice(None)
        return {
            "accuracy": treatments.accuracy(outputs, labels),
            "accuracy_even": treatments.accuracy(outputs[::2], labels[::2]),
            "accuracy_odd": treatments.accuracy(outputs[odd], labels[odd]),
            "device": device.describe(self.device),
            "loss": F.cross_entropy(outputs.double(), labels).item(),
        }


class TreatmentTrial(_VisionTrial):
    """The trained network, given images under another normalization."""

    def __init__(self, settings: Params, root: Path = Path()):
        super().__init__(settings, root)
        state = model.read(self.settings.arch, str(root / MODEL))
        network = model.build(self.settings.arch, state, self.data.classes, self.settings.seed)
        self.network = network.to(self.device)
        norm = self.settings.norm
        self.own = treatments.logits(self.network, self.data.val.images, Normalization(norm.mean, norm.std))

    @staticmethod
    def files(settings: Params) -> list[Path]:
        return [MODEL, *_VisionTrial.files(settings)]

    @staticmethod
    def determinants(settings: Params) -> dict[str, dict]:
        """The settings and the data that determine the results, alongside the parameters of the trial."""
        resnet = settings.resnet.model_dump(mode="json", include=TREATMENT_KEYS)
        return {
            # One number, or three that are the same, are the same normalization.
            "resnet": resnet | {"norm": settings.resnet.norm.parameters()},
            "data": images.source(settings.resnet),
            "network": {"sha256": hashlib.sha256(MODEL.read_bytes()).hexdigest()},
        }

    def __call__(self, treated: int = 2, **parameters: float) -> Result:
        """The network under `mean` and `std`, or mean_r, mean_g, mean_b, std_r, std_g, std_b.

        treated: how many of the treatments are tried, in the order of `treatments.TREATMENTS`
        returns:
            accuracy:          on the `val` images, as it is, a fraction in [0, 1]; _even, _odd: on those of that index
            accuracy_own:      under the network's own normalization
            loss:              mean cross-entropy, as it is
            accuracy_...:      recalibrated, folded and fine_tuned, as far as they are tried
            folded_difference: the largest, of all logits, from those under the own normalization
            folded_other:      the number of predictions that differ from those
            device:            the kind that the trial ran on: other kinds round differently
        """
        norm, labels = normalization(parameters), self.data.val.labels
        result = self.measured(self._outcome("as_is", norm))
        result["accuracy_own"] = treatments.accuracy(self.own, labels)
        for treatment in TREATMENTS[1:treated]:
            outputs = self._outcome(treatment, norm)
            result[f"accuracy_{treatment}"] = treatments.accuracy(outputs, labels)
            if treatment == "folded":
                result["folded_difference"] = (outputs - self.own).abs().max().item()
                result["folded_other"] = int((outputs.argmax(1) != self.own.argmax(1)).sum())
        return result

    def _outcome(self, treatment: Treatment, norm: Normalization) -> torch.Tensor:
        return treatments.outcome(treatment, self.network, self.data, self.settings, norm)


class ScratchTrial(_VisionTrial):
    """A network trained from scratch on digits under a normalization."""

    @staticmethod
    def resnet(settings: Params) -> Resnet:
        """The settings with the digits, and as many of them, that training runs from scratch use."""
        scratch = settings.resnet.scratch
        counts = {"train_images": scratch.train_images, "test_images": scratch.test_images}
        return settings.resnet.model_copy(update={"data": "mnist", "size": 28} | counts)

    @classmethod
    def determinants(cls, settings: Params) -> dict[str, dict]:
        """The settings and the data that determine the results, alongside the parameters of the trial."""
        resnet = cls.resnet(settings)
        counts = {"train_images": resnet.train_images, "test_images": resnet.test_images}
        return {
            "resnet": resnet.model_dump(mode="json", include=SCRATCH_KEYS),
            "data": counts | images.source(resnet),
        }

    def __call__(self, seed: int, **parameters: float) -> Result:
        """A training run under `mean` and `std`, or mean_r, mean_g, mean_b, std_r, std_g, std_b.

        returns: accuracy, accuracy_even, accuracy_odd, loss and device, as of a `TreatmentTrial`
        """
        norm = normalization(parameters)
        network = treatments.scratch(self.data, self.settings, norm, seed, self.device)
        return self.measured(treatments.logits(network, self.data.val.images, norm))


def normalization(parameters: Mapping[str, float]) -> Normalization:
    """The normalization that a trial is told: the inverse of `params.Norm.parameters`.

    raises: ValueError naming a parameter that is missing
    """
    return Normalization(_numbers("mean", parameters), _numbers("std", parameters))


def _numbers(kind: str, parameters: Mapping[str, float]) -> tuple[float, ...]:
    names = [kind] if kind in parameters else [f"{kind}_{channel}" for channel in "rgb"]
    if missing := [name for name in names if name not in parameters]:
        raise ValueError(f"{missing[0]} is missing: a trial is told {kind}, or {kind}_r, {kind}_g and {kind}_b")
    return tuple(parameters[name] for name in names)
