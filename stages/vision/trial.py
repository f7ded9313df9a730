"""Trials of networks for color images: each public class is a `study.fingerprint.Trial`."""

import hashlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F

from stages.common import determinism, device, mnist
from stages.common.normalization import Normalization
from stages.settings.params import Imagenet, Params, Resnet
from stages.vision import images, model, samples, treatments

MODEL = Path("data/models/resnet.pt")
Result = dict[str, float | int | str]


class ScratchTrial:
    """A network trained from scratch on digits."""

    def __init__(self, settings: Params, root: Path = Path()):
        self.settings = settings.resnet.model_copy(update=settings.resnet.scratch.model_dump())
        self.device = device.prepare(settings.run.device)
        self.data = images.digits(self.settings, root / mnist.FOLDER)

    @staticmethod
    def check(settings: Params) -> None:
        mnist.load(1, 1)

    @staticmethod
    def files(settings: Params) -> list[Path]:
        return [mnist.FOLDER / name for name in mnist.FILES]

    @staticmethod
    def threads(settings: Params) -> int:
        return settings.resnet.threads

    @staticmethod
    def determinants(settings: Params) -> dict[str, dict]:
        resnet = settings.resnet.model_dump(mode="json", include={"arch", "batch_size", "threads", "train"})
        return {"resnet": resnet, "data": settings.resnet.scratch.model_dump() | mnist.FILES}

    def __call__(self, seed: int, border: float | None = None, recalibrated: int = 0, **parameters: float) -> Result:
        """A training run; parameters: as `Normalization.from_parameters`; returns: as `measured`

        border:       `edge` of `treatments.scratch`
        recalibrated: batch statistics are estimated again on the first N training images; 0: not
        """
        norm, size = Normalization.from_parameters(parameters), self.settings.batch_size
        network = treatments.scratch(self.data, self.settings, norm, seed, self.device, border)
        if recalibrated:
            network = treatments.recalibrated(network, self.data.train_images[:recalibrated], norm, size)
        outputs = treatments.logits(network, self.data.test_images, norm, size)
        return measured(outputs, self.data.test_labels, self.device)


class _TreatmentTrial:
    """A trained network, whose own normalization is `norm`, tested under other normalizations."""

    loaded: Callable[[Params, Path], tuple[Resnet | Imagenet, mnist.Data, torch.nn.Module, Normalization]]

    def __init__(self, settings: Params, root: Path = Path()):
        self.settings, self.data, network, self.norm = self.loaded(settings, root)
        self.device = device.prepare(settings.run.device)
        determinism.fix(self.settings.threads)
        self.network = network.to(self.device)
        self.own = treatments.logits(self.network, self.data.test_images, self.norm, self.settings.batch_size)

    @classmethod
    def check(cls, settings: Params) -> None:
        """Also fetches and decodes photographs if necessary."""
        cls.loaded(settings, Path())

    def __call__(self, treated: int = 2, **parameters: float) -> Result:
        """parameters: as `Normalization.from_parameters`

        treated: number of treatments, in the order of `treatments.outcomes` (the name in kept trials)
        returns: as `measured`; accuracy_own, under its own normalization; of each treatment, with the
                 suffix _NAME except for as_is: accuracy, lost and gained (images that are right only
                 under its own and only under this one); what differs from its own after folding:
                 folded_difference (largest, of a logit), folded_other (number of predictions)
        """
        norm, labels = Normalization.from_parameters(parameters), self.data.test_labels
        was = self.own.argmax(1) == labels
        outcomes = treatments.outcomes(self.network, self.data, self.settings, self.norm, norm, count=treated)
        result = measured(outcomes["as_is"], labels, self.device) | {"accuracy_own": _share(was)}
        for name, outputs in outcomes.items():
            now, suffix = outputs.argmax(1) == labels, "" if name == "as_is" else f"_{name}"
            result[f"accuracy{suffix}"] = _share(now)
            result[f"lost{suffix}"], result[f"gained{suffix}"] = int((was & ~now).sum()), int((now & ~was).sum())
            if name == "folded":
                result["folded_difference"] = (outputs - self.own).abs().max().item()
                result["folded_other"] = int((outputs.argmax(1) != self.own.argmax(1)).sum())
        return result


class ResnetTrial(_TreatmentTrial):
    """The network that the stage `resnet` has trained on digits."""

    @staticmethod
    def loaded(settings: Params, root: Path) -> tuple[Resnet, mnist.Data, torch.nn.Module, Normalization]:
        resnet, data = settings.resnet, images.digits(settings.resnet, root / mnist.FOLDER)
        network = model.build(resnet.arch, resnet.seed)
        model.load(network, root / MODEL, f"{MODEL}: resnet.arch = {resnet.arch!r}")
        return resnet, data, network, resnet.norm

    @staticmethod
    def files(settings: Params) -> list[Path]:
        return [MODEL, *ScratchTrial.files(settings)]

    @staticmethod
    def threads(settings: Params) -> int:
        return settings.resnet.threads

    @staticmethod
    def determinants(settings: Params) -> dict[str, dict]:
        resnet = settings.resnet.model_dump(mode="json", exclude={"norm", "train", "scratch"})
        return {
            "resnet": resnet | {"norm": settings.resnet.norm.parameters()},
            "data": mnist.FILES,
            "network": {"sha256": hashlib.sha256(MODEL.read_bytes()).hexdigest()},
        }


class ImagenetTrial(_TreatmentTrial):
    """A published network on photographs."""

    @staticmethod
    def loaded(settings: Params, root: Path) -> tuple[Imagenet, mnist.Data, torch.nn.Module, Normalization]:
        imagenet = settings.imagenet
        published = model.published(imagenet.arch, imagenet.weights)
        data, classes = images.photographs(imagenet, published.transform, settings.run.imagenet, root)
        return imagenet, data, model.with_outputs(published.network, classes), published.norm

    @staticmethod
    def files(settings: Params) -> list[Path]:
        """Not the user's folder of photographs: it must have the same path on every worker."""
        imagenet = settings.imagenet
        if imagenet.data != samples.NAME:
            return []
        transform = model.published(imagenet.arch, imagenet.weights).transform
        return [samples.MANIFEST, images.chosen(imagenet)["val"].decoded(transform)]

    @staticmethod
    def threads(settings: Params) -> int:
        return settings.imagenet.threads

    @staticmethod
    def determinants(settings: Params) -> dict[str, dict]:
        imagenet = settings.imagenet
        network = model.published(imagenet.arch, imagenet.weights)
        unused = set() if images.trains(imagenet) else {"train_images", "seed", "fine_tune"}
        return {
            "imagenet": imagenet.model_dump(mode="json", exclude={"weights", "data"} | unused),
            "data": images.source(imagenet) | {"preparation": images.words(network.transform)},
            "network": {"sha256": network.weights, "timm": version("timm"), "torchvision": version("torchvision")},
        }


class ImagesTrial(ImagenetTrial):
    """The published network under its own normalization, and statistics of its images."""

    def __call__(self, **_: float) -> Result:  # type: ignore[override]
        """returns: as `measured`; `images.statistics` as mean_r, ...; the network's own as own_mean_r, ..."""
        result = measured(self.own, self.data.test_labels, self.device)
        own = {f"own_{kind}": [*numbers] * (3 // len(numbers)) for kind, numbers in self.norm}
        for kind, numbers in (images.statistics(self.data.test_images) | own).items():
            result |= {f"{kind}_{channel}": number for channel, number in zip("rgb", numbers, strict=True)}
        return result


def measured(outputs: torch.Tensor, labels: torch.Tensor, runs_on: torch.device) -> Result:
    """outputs: logits; returns: accuracies, also on images of even and odd index; mean loss; device"""
    right = outputs.argmax(1) == labels
    return {
        "accuracy": _share(right),
        "accuracy_even": _share(right[::2]),
        "accuracy_odd": _share(right[1::2] if len(right) > 1 else right),
        "device": device.describe(runs_on),
        "loss": F.cross_entropy(outputs.double(), labels).item(),
    }


def _share(right: torch.Tensor) -> float:
    return right.double().mean().item()
