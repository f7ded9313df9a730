"""Networks and training, in words."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from stages.common import tables
from stages.settings.params import ALL_IMAGES, Params

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
    study, of = settings.studies[name], settings.for_study(name)
    if study.of_lenet:
        return "LeNet"
    if study.trial.settings == "resnet":
        images = (of.resnet.scratch if study.seeds else of.resnet).train_images
        return f"{of.resnet.arch} trained on {images:,} digits, {of.resnet.train.epochs} epochs"
    size, usual = of.imagenet.batch_size, settings.imagenet.batch_size
    batches = f" (recalibrated in batches of {size}, not {usual})" if size != usual else ""
    return f"{of.imagenet.arch}, published{batches}"


def shared(parameters: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The parameters that all of these have, by name."""
    return dict(set.intersection(*(set(each.items()) for each in parameters)))


def trained(table: pd.DataFrame, settings: Params) -> str:
    """How the trials of a table were trained, as far as they agree, without the usual settings."""
    same = shared(tables.parameters(table))
    if "optimizer" not in same:
        return ""
    usual = settings.train.model_dump() | {"train_images": ALL_IMAGES}
    words = [
        phrase.format(same[name])
        for name, phrase in WORDS.items()
        if same.get(name, False) is not False and (name in ALWAYS or same[name] != usual.get(name))
    ]
    words[0] = NAMES[words[0]]
    if "lr" not in same and table["point"].nunique() == len(table[["mean", "std"]].drop_duplicates()):
        words.append("each normalization at its own rate")
    return ", ".join("1 epoch" if phrase == "1 epochs" else phrase for phrase in words)


def exponent(law: Mapping[str, Any]) -> str:
    """The fitted exponent of the largest rate that works, with its interval."""
    if "exponent" not in law:
        return "no exponent: too few largest rates within the grid"
    low, high = (law["exponent"]["interval"][end] for end in ("low", "high"))
    between = " to ".join("open" if end is None else f"{-end:.2f}" for end in (high, low))
    return f"fitted exponent {-law['exponent']['estimate']:.2f} ({between})"
