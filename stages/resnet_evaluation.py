"""One trial of ResNet, as a worker runs it: a trained network under another normalization, or a training."""

import hashlib
from math import nan
from pathlib import Path
from types import ModuleType
from typing import ClassVar, TypedDict

import torch
import torch.nn.functional as F

from stages import device, folding, images, mnist, network, training, treatments
from stages.params import Params, Resnet, Three
from stages.treatments import TREATMENTS, Normalization

MODEL = Path("data/models/resnet.pt")
OF_SCRATCH = {"arch", "batch_size", "threads", "train"}  # the keys under resnet that a training from scratch reads
OF_TREATMENT = {
    *("arch", "data", "size", "crop", "train_images", "test_images", "batch_size", "seed", "threads", "norm"),
    *("recalibration_images", "fine_tune"),
}
CODE = (folding, images, mnist, network, training, treatments)


class Result(TypedDict, total=False):
    """What the evaluation of a trial gave; of a training from scratch, without the treatments."""

    accuracy: float  # on the `val` images, fraction in [0, 1]; of a trained network, as it is
    accuracy_even: float  # on those of even index
    accuracy_odd: float  # on those of odd index
    loss: float  # mean cross-entropy
    accuracy_own: float  # under the network's own normalization
    accuracy_recalibrated: float
    accuracy_folded: float
    accuracy_fine_tuned: float
    folded_difference: float  # largest, of all logits, from those under the own normalization
    folded_other: int  # predictions that differ
    device: str  # the kind that it ran on: other kinds round differently


class Treated:
    """Gives the trained network images under another normalization.

    root: the folder that the project's data lie in
    """

    MODULES: ClassVar[tuple[ModuleType, ...]] = CODE  # whose code determines the results

    def __init__(self, settings: Params, root: Path = Path()):
        self.settings = wanted = settings.resnet
        self.device = device.prepare(settings.run.device)
        self.data = images.load(wanted, root / mnist.FOLDER, root / images.CACHE)
        state = network.read(wanted.arch, str(root / MODEL))
        self.model = network.build(wanted.arch, state, self.data.classes, wanted.seed).to(self.device)
        self.own = treatments.logits(self.model, self.data.val.images, Normalization.of(wanted.norm))

    @staticmethod
    def check(settings: Params) -> None:
        """raises: InputError if what it reads is not there or is damaged"""
        images.load(settings.resnet)

    @staticmethod
    def files(settings: Params) -> list[Path]:
        """The files that it reads, but for a folder of images: that must be where it is here."""
        return [MODEL, *(mnist.FOLDER / name for name in mnist.FILES)]

    @staticmethod
    def threads(settings: Params) -> int:
        """How many CPU threads one evaluation uses."""
        return settings.resnet.threads

    @staticmethod
    def determinants(settings: Params) -> dict[str, dict]:
        """The settings and the data that determine the results, beside the parameters of the trial."""
        return {
            "resnet": settings.resnet.model_dump(mode="json", include=OF_TREATMENT),
            "data": images.source(settings.resnet),
            "network": {"sha256": hashlib.sha256(MODEL.read_bytes()).hexdigest()},
        }

    def __call__(self, treated: int = 2, **numbers: float) -> Result:
        """The network under `mean` and `std`, or mean_r, mean_g, mean_b, std_r, std_g, std_b.

        treated: how many of the treatments are tried, in the order of `treatments.TREATMENTS`
        """
        norm = normalization(numbers)
        result: Result = {}
        for treatment in TREATMENTS[:treated]:
            outputs = treatments.outcome(treatment, self.model, self.data, self.settings, norm)
            if treatment == "as_is":
                result = measured(outputs, self.data.val.labels, self.device)
                result["accuracy_own"] = treatments.accuracy(self.own, self.data.val.labels)
            else:
                accuracy = treatments.accuracy(outputs, self.data.val.labels)
                result[f"accuracy_{treatment}"] = accuracy  # type: ignore[literal-required]
            if treatment == "folded":
                result["folded_difference"] = (outputs - self.own).abs().max().item()
                result["folded_other"] = int((outputs.argmax(1) != self.own.argmax(1)).sum())
        return result


class Scratch:
    """Trains networks on digits under any normalization.

    root: the folder that the project's data lie in
    """

    MODULES: ClassVar[tuple[ModuleType, ...]] = CODE

    def __init__(self, settings: Params, root: Path = Path()):
        self.settings = digits(settings.resnet)
        self.device = device.prepare(settings.run.device)
        self.data = images.load(self.settings, root / mnist.FOLDER)

    @staticmethod
    def check(settings: Params) -> None:
        """raises: InputError if what it reads is not there or is damaged"""
        images.load(digits(settings.resnet))

    @staticmethod
    def files(settings: Params) -> list[Path]:
        """The files that it reads."""
        return [mnist.FOLDER / name for name in mnist.FILES]

    @staticmethod
    def threads(settings: Params) -> int:
        """How many CPU threads one evaluation uses."""
        return settings.resnet.threads

    @staticmethod
    def determinants(settings: Params) -> dict[str, dict]:
        """The settings and the data that determine the results, beside the parameters of the trial."""
        scratch = settings.resnet.scratch
        hashes = {name: sha256 for name, (_, sha256) in mnist.FILES.items()}
        counts = {"train_images": scratch.train_images, "test_images": scratch.test_images}
        return {"resnet": settings.resnet.model_dump(mode="json", include=OF_SCRATCH), "data": counts | hashes}

    def __call__(self, seed: int, **numbers: float) -> Result:
        """A training under `mean` and `std`, or mean_r, mean_g, mean_b, std_r, std_g, std_b."""
        norm = normalization(numbers)
        model = treatments.scratch(self.data, self.settings, norm, seed, self.device)
        return measured(treatments.logits(model, self.data.val.images, norm), self.data.val.labels, self.device)


def digits(settings: Resnet) -> Resnet:
    """The settings with the digits, and as many of them, that trainings from scratch use."""
    counts = {"train_images": settings.scratch.train_images, "test_images": settings.scratch.test_images}
    return settings.model_copy(update={"data": "mnist", "size": 28} | counts)


def numbers(norm: Normalization) -> dict[str, float]:
    """A normalization as parameters of a trial: one mean and one std where they are the same for all channels."""
    if len(set(norm.mean)) == len(set(norm.std)) == 1:
        return {"mean": norm.mean[0], "std": norm.std[0]}
    means, stds = ({f"{kind}_{c}": v for c, v in zip("rgb", of, strict=True)} for kind, of in norm._asdict().items())
    return means | stds


def normalization(numbers: dict[str, float]) -> Normalization:
    """The normalization that the parameters of a trial name."""

    def of(kind: str) -> Three:
        red, green, blue = (numbers.get(f"{kind}_{channel}", numbers.get(kind, nan)) for channel in "rgb")
        return red, green, blue

    return Normalization(of("mean"), of("std"))


def measured(outputs: torch.Tensor, labels: torch.Tensor, place: torch.device) -> Result:
    """outputs: logits (N, classes), labels: int64 (N,)"""
    odd = slice(1, None, 2) if len(labels) > 1 else slice(None)
    return {
        "accuracy": treatments.accuracy(outputs, labels),
        "accuracy_even": treatments.accuracy(outputs[::2], labels[::2]),
        "accuracy_odd": treatments.accuracy(outputs[odd], labels[odd]),
        "device": device.describe(place),
        "loss": F.cross_entropy(outputs.double(), labels).item(),
    }
