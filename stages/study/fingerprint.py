"""The fingerprint of a study: everything that determines its trials, as JSON."""

from pathlib import Path
from typing import Any, Protocol

import optuna
import torch

from stages.settings.params import Params
from stages.study import meaning

CODE = "code of the trial"  # the key of the code's digest


class Trial(Protocol):
    """Evaluates trials in a worker: called with a trial's parameters as keywords, it returns the result.

    A result is a flat JSON mapping with `accuracy`, which studies maximize, and `device`, the kind of device.

    root:         the folder of the project's data
    check:        raises InputError if a file that it reads is missing or damaged
    files:        the files that it reads, which a cluster's workers get
    threads:      CPU threads of one trial
    determinants: the settings and data that determine the result, besides the parameters
    """

    def __init__(self, settings: Params, root: Path = Path()): ...
    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]: ...
    @staticmethod
    def check(settings: Params) -> None: ...
    @staticmethod
    def files(settings: Params) -> list[Path]: ...
    @staticmethod
    def threads(settings: Params) -> int: ...
    @staticmethod
    def determinants(settings: Params) -> dict[str, dict]: ...


def fingerprint(settings: Params, proposing: dict[str, dict], trial: type[Trial]) -> dict[str, Any]:
    """proposing: the `determinants` of the study's plan"""
    determinants = trial.determinants(settings)
    for section, values in proposing.items():
        determinants[section] = determinants.get(section, {}) | values
    return determinants | {
        CODE: meaning.digest(trial.__module__),
        "versions": {"torch": torch.__version__.partition("+")[0], "optuna": optuna.__version__},
    }


def changed(now: dict[str, Any], before: dict[str, Any]) -> str:
    """The keys in which two fingerprints differ, named as in params.yaml."""
    names = []
    for section in now | before:
        new, old = now.get(section, {}), before.get(section, {})
        if isinstance(new, dict) and isinstance(old, dict):
            names += [f"{section}.{key}" for key in new | old if new.get(key) != old.get(key)]
        elif new != old:
            names.append(section)
    return ", ".join(names).replace("train.train_images", "data.train_images")
