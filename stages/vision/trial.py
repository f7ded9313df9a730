"""Trials of networks for color images, as a worker runs them: each class is a `study.fingerprint.Trial`."""

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
DIGITS = {name: sha256 for name, (_, sha256) in mnist.FILES.items()}

Result = dict[str, float | int | str]


class _Digits:
    """What the trials of a ResNet share."""

    @staticmethod
    def check(settings: Params) -> None:
        mnist.load(1, 1)

    @staticmethod
    def files(settings: Params) -> list[Path]:
        return [mnist.FOLDER / name for name in mnist.FILES]

    @staticmethod
    def threads(settings: Params) -> int:
        return settings.resnet.threads


class ScratchTrial(_Digits):
    """A network trained from scratch on digits under a normalization."""

    def __init__(self, settings: Params, root: Path = Path()):
        self.settings = settings.resnet.model_copy(update=settings.resnet.scratch.model_dump())
        self.device = device.prepare(settings.run.device)
        self.data = images.digits(self.settings, root / mnist.FOLDER)

    @staticmethod
    def determinants(settings: Params) -> dict[str, dict]:
        resnet = settings.resnet.model_dump(mode="json", include={"arch", "batch_size", "threads", "train"})
        return {"resnet": resnet, "data": settings.resnet.scratch.model_dump() | DIGITS}

    def __call__(self, seed: int, border: float | None = None, recalibrated: int = 0, **parameters: float) -> Result:
        """A training run under `mean` and `std`, or mean_r, mean_g, mean_b, std_r, std_g, std_b.

        border:       the pixel / 255 whose value the first convolution's padding has; without it, zero
        recalibrated: of the first training images; the statistics of batch normalization are estimated on them again
                      before the test
        returns:      as `measured`
        """
        norm, size = Normalization.from_parameters(parameters), self.settings.batch_size
        pads_like = None if border is None else Normalization.of(border, 1.0)
        network = treatments.scratch(self.data, self.settings, norm, seed, self.device, pads_like)
        if recalibrated:
            network = treatments.recalibrated(network, self.data.train_images[:recalibrated], norm, size)
        outputs = treatments.logits(network, self.data.test_images, norm, size)
        return measured(outputs, self.data.test_labels, self.device)


class _TreatmentTrial:
    """A trained network that is given images under another normalization than its own, which is `norm`."""

    loaded: Callable[[Params, Path], tuple[Resnet | Imagenet, mnist.Data, torch.nn.Module, Normalization]]

    def __init__(self, settings: Params, root: Path = Path()):
        self.settings, self.data, network, self.norm = self.loaded(settings, root)
        self.device = device.prepare(settings.run.device)
        determinism.fix(self.settings.threads)
        self.network = network.to(self.device)
        self.own = treatments.logits(self.network, self.data.test_images, self.norm, self.settings.batch_size)

    def __call__(self, treated: int = 2, **parameters: float) -> Result:
        """The network under `mean` and `std`, or mean_r, mean_g, mean_b, std_r, std_g, std_b.

        treated: how many of the treatments are tried, in the order of `treatments.outcomes`; kept trials have this name
        returns: as `measured` and, for each treatment (as_is without a suffix, then _recalibrated and so on),
            accuracy:          a fraction in [0, 1]; accuracy_own: under the network's own normalization
            lost, gained:      images that are right under its own normalization alone, and under this one alone
            folded_difference: of logits, the largest, from those under its own normalization
            folded_other:      the number of predictions that differ from those
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


class ResnetTrial(_Digits, _TreatmentTrial):
    """The network that the stage `resnet` has trained on digits."""

    @staticmethod
    def loaded(settings: Params, root: Path) -> tuple[Resnet, mnist.Data, torch.nn.Module, Normalization]:
        resnet, data = settings.resnet, images.digits(settings.resnet, root / mnist.FOLDER)
        network = model.build(resnet.arch, resnet.seed)
        model.load(network, model.read(root / MODEL, str(MODEL)), f"{MODEL}: not the weights of {resnet.arch}")
        return resnet, data, network, resnet.norm

    @staticmethod
    def files(settings: Params) -> list[Path]:
        return [MODEL, *_Digits.files(settings)]

    @staticmethod
    def determinants(settings: Params) -> dict[str, dict]:
        resnet = settings.resnet.model_dump(mode="json", exclude={"norm", "train", "scratch"})
        return {
            "resnet": resnet | {"norm": settings.resnet.norm.parameters()},
            "data": DIGITS,
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

    @classmethod
    def check(cls, settings: Params) -> None:
        """Fetches and decodes the photographs where that has not been done yet."""
        cls.loaded(settings, Path())

    @staticmethod
    def files(settings: Params) -> list[Path]:
        """A folder of the user's own is not among them: it must have the same path everywhere."""
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
    """The published network under its own normalization, and what its images are."""

    def __call__(self, **_: float) -> Result:  # type: ignore[override]
        """returns: as `measured`; for r, g and b
        mean_r:      of all pixels / 255
        std_r:       of the same, all together
        image_std_r: the mean of each image's own
        own_mean_r, own_std_r: those that the network was trained under
        """
        result = measured(self.own, self.data.test_labels, self.device)
        rows = images.statistics(self.data.test_images)
        rows |= {f"own_{kind}": [*numbers] * (3 // len(numbers)) for kind, numbers in self.norm}
        for kind, numbers in rows.items():
            result |= {f"{kind}_{channel}": number for channel, number in zip("rgb", numbers, strict=True)}
        return result


def measured(outputs: torch.Tensor, labels: torch.Tensor, runs_on: torch.device) -> Result:
    """Accuracies, also on images of even and odd index, mean cross-entropy, device; outputs: logits"""
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
