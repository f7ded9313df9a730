"""One trial of a network for colour images, as a worker runs it.

`study.fingerprint.Trial` says what `check`, `files`, `threads` and `determinants` of each class are.
"""

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
# The settings that determine a trial's result, by section.
SCRATCH = {"arch", "batch_size", "threads", "train"}
RESNET = {"arch", "train_images", "test_images", "batch_size", "seed", "threads", "fine_tune"}
IMAGENET = {"arch", "test_images", "batch_size", "threads"}
FINE_TUNED = {"train_images", "seed", "fine_tune"}  # besides, where photographs have a part to train on
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
        scratch = settings.resnet.scratch.model_dump()
        return {"resnet": settings.resnet.model_dump(mode="json", include=SCRATCH), "data": scratch | DIGITS}

    def __call__(self, seed: int, border: float | None = None, recalibrated: int = 0, **parameters: float) -> Result:
        """A training run under `mean` and `std`, or mean_r, mean_g, mean_b, std_r, std_g, std_b.

        border:       the pixel / 255 whose value the first convolution's padding has; without it, zero
        recalibrated: of the first training images; the statistics of batch normalization are estimated on them again
                      before the test
        returns:      accuracy, accuracy_even, accuracy_odd, loss and device, as of other trials
        """
        norm = Normalization.from_parameters(parameters)
        pads_like = None if border is None else Normalization.of(border, 1.0)
        network = treatments.scratch(self.data, self.settings, norm, seed, self.device, pads_like=pads_like)
        if recalibrated and (train := self.data.train):
            network = treatments.recalibrated(network, train.images[:recalibrated], norm, self.settings.batch_size)
        outputs = treatments.logits(network, self.data.val.images, norm, self.settings.batch_size)
        return measured(outputs, self.data.val.labels, self.device)


class _TreatmentTrial:
    """A trained network that is given images under another normalization than its own, which is `norm`."""

    loaded: Callable[[Params, Path], tuple[Resnet | Imagenet, images.Images, torch.nn.Module, Normalization]]

    def __init__(self, settings: Params, root: Path = Path()):
        self.settings, self.data, network, self.norm = self.loaded(settings, root)
        self.device = device.prepare(settings.run.device)
        determinism.fix(self.settings.threads)
        self.network = network.to(self.device)
        self.own = treatments.logits(self.network, self.data.val.images, self.norm, self.settings.batch_size)

    def __call__(self, treated: int = 2, **parameters: float) -> Result:
        """The network under `mean` and `std`, or mean_r, mean_g, mean_b, std_r, std_g, std_b.

        treated: how many of the treatments are tried, in the order of `treatments.outcomes`; kept trials have this name
        returns: of the network as it is, on the `val` images:
            accuracy:     a fraction in [0, 1]; _even, _odd: on those of that index
            accuracy_own: under its own normalization
            loss:         mean cross-entropy
            lost, gained: images that are right under its own normalization alone, and under this one alone
            device:       the kind that the trial ran on: other kinds round differently
        of other treatments, as far as they are tried, accuracy_recalibrated and so on, lost_..., gained_..., and
            folded_difference: the largest, of all logits, from those under its own normalization
            folded_other:      the number of predictions that differ from those
        """
        norm, labels = Normalization.from_parameters(parameters), self.data.val.labels
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
    def loaded(settings: Params, root: Path) -> tuple[Resnet, images.Images, torch.nn.Module, Normalization]:
        resnet, data = settings.resnet, images.digits(settings.resnet, root / mnist.FOLDER)
        network = model.build(resnet.arch, model.read(root / MODEL, str(MODEL)), len(data.classes), resnet.seed)
        return resnet, data, network, resnet.norm

    @staticmethod
    def files(settings: Params) -> list[Path]:
        return [MODEL, *_Digits.files(settings)]

    @staticmethod
    def determinants(settings: Params) -> dict[str, dict]:
        resnet = settings.resnet.model_dump(mode="json", include=RESNET)
        return {
            "resnet": resnet | {"norm": settings.resnet.norm.parameters()},
            "data": DIGITS,
            "network": {"sha256": hashlib.sha256(MODEL.read_bytes()).hexdigest()},
        }


class ImagenetTrial(_TreatmentTrial):
    """A published network on photographs."""

    @staticmethod
    def loaded(settings: Params, root: Path) -> tuple[Imagenet, images.Images, torch.nn.Module, Normalization]:
        published = _published(settings)
        data = images.photographs(settings.imagenet, published.preparation, settings.run.imagenet, root)
        return settings.imagenet, data, model.with_outputs(published.network, data.classes, root), published.norm

    @classmethod
    def check(cls, settings: Params) -> None:
        """Fetches and decodes the photographs where that has not been done yet."""
        cls.loaded(settings, Path())

    @staticmethod
    def files(settings: Params) -> list[Path]:
        """A folder of the user's own is not among them: it must have the same path everywhere."""
        if settings.imagenet.data != samples.NAME:
            return [samples.MANIFEST]
        preparation = _published(settings).preparation
        return [samples.MANIFEST, images.decoded_samples(settings.imagenet, preparation)]

    @staticmethod
    def threads(settings: Params) -> int:
        return settings.imagenet.threads

    @staticmethod
    def determinants(settings: Params) -> dict[str, dict]:
        imagenet, network = settings.imagenet, _published(settings)
        keys = IMAGENET | FINE_TUNED if images.trains(imagenet) else IMAGENET
        return {
            "imagenet": imagenet.model_dump(mode="json", include=keys),
            "data": images.source(imagenet) | {"preparation": network.preparation.words},
            "network": {"sha256": network.weights, "timm": version("timm"), "torchvision": version("torchvision")},
        }


class ImagesTrial(ImagenetTrial):
    """The published network under its own normalization, and what its images are."""

    def __call__(self, **_: float) -> Result:  # type: ignore[override]
        """returns: accuracy, accuracy_even, accuracy_odd, loss and device, as of other trials; for r, g and b
        mean_r:      of all pixels / 255
        std_r:       of the same, all together
        image_std_r: the mean of each image's own
        own_mean_r, own_std_r: those that the network was trained under
        """
        result = measured(self.own, self.data.val.labels, self.device)
        rows = images.statistics(self.data.val.images)
        rows |= {f"own_{kind}": [*numbers] * (3 // len(numbers)) for kind, numbers in self.norm}
        for kind, numbers in rows.items():
            result |= {f"{kind}_{channel}": number for channel, number in zip("rgb", numbers, strict=True)}
        return result


def _published(settings: Params) -> model.Published:
    return model.published(settings.imagenet.arch, settings.imagenet.weights)


def measured(outputs: torch.Tensor, labels: torch.Tensor, runs_on: torch.device) -> Result:
    """outputs: logits (N, classes) on the `val` images"""
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
