"""Networks and training, in words."""

from collections.abc import Mapping
from typing import Any

from stages.settings.params import Params

WORDS = {
    "optimizer": "{}",
    "lr": "learning rate {:g}",
    "epochs": "{} epochs",
    "momentum": "momentum {:g}",
    "train_images": "{:,} images",
    "batch_size": "batches of {}",
    "gamma": "rates times {:g} an epoch",
    "init": "initial weights {}",
    "start_mean": "starting as under mean {:g}",
    "start_std": "std {:g}",
    "shuffle": "a new order every epoch",
    "held_out": "tested on {:,} held out",
}
TREATMENTS = {"as_is": "as is", "recalibrated": "recalibrated", "folded": "folded", "fine_tuned": "fine-tuned"}
NAMES = {"adadelta": "Adadelta", "sgd": "SGD", "adam": "Adam"}
ALWAYS = "optimizer", "lr", "epochs"


def network(settings: Params, name: str) -> str:
    """The network of a study, in words."""
    study, of = settings.studies.get(name), settings.for_study(name)
    if study is None or study.of_lenet:
        return "LeNet"
    if study.trial.settings == "resnet":
        images = (of.resnet.scratch if study.seeds else of.resnet).train_images
        return f"{of.resnet.arch} trained on {images:,} digits, {of.resnet.train.epochs} epochs"
    size = of.imagenet.batch_size
    batches = f" (recalibrated: batches of {size})" if size != settings.imagenet.batch_size else ""
    return f"{of.imagenet.arch}, published{batches}"


def shared(points: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that all points of a comparison have, by name."""
    of_points = [set(point["parameters"].items()) for point in points.values()]
    return dict(set.intersection(*of_points)) if of_points else {}


def protocol(parameters: Mapping[str, Any], settings: Params) -> str:
    """How training runs with these parameters were trained, without the usual settings."""
    if "optimizer" not in parameters:
        return ""
    usual = settings.train.model_dump() | settings.data.model_dump()
    words = [
        phrase.format(parameters[name])
        for name, phrase in WORDS.items()
        if parameters.get(name, False) is not False and (name in ALWAYS or parameters[name] != usual.get(name))
    ]
    words[0] = NAMES[words[0]]
    return ", ".join("1 epoch" if phrase == "1 epochs" else phrase for phrase in words)


def trained(points: Mapping[str, Any], settings: Params) -> str:
    """How the points of a comparison were trained, as far as they agree."""
    same = shared(points)
    words = protocol(same, settings)
    if "optimizer" not in same or "lr" in same:
        return words
    normalizations = {(each["parameters"].get("mean"), each["parameters"].get("std")) for each in points.values()}
    return words + ", each normalization at its own rate" * (len(normalizations) == len(points))


def exponent(law: Mapping[str, Any]) -> str:
    """The fitted exponent of the largest rate that works, with its interval."""
    if "exponent" not in law:
        return "no exponent: too few largest rates within the grid"
    low, high = (law["exponent"]["interval"][end] for end in ("low", "high"))
    between = " to ".join("open" if end is None else f"{-end:.2f}" for end in (high, low))
    return f"fitted exponent {-law['exponent']['estimate']:.2f} ({between})"
