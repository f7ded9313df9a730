"""What determines the trials of a study, in a form that can be kept with them and compared."""

from pathlib import Path
from typing import Any, Protocol

import optuna
import torch

from stages.settings.params import Params
from stages.study import meaning

CODE = "code of the trial"  # the key of its digest


class Trial(Protocol):
    """The evaluation of trials in a worker: called with the parameters of one, it gives the result.

    A result is a flat mapping that JSON can hold, with `accuracy`, which studies maximize, and `device`, its kind.

    root:         the folder that the project's data lie in
    check:        raises InputError if what it reads is not there or is damaged
    files:        those that it reads: a cluster's workers get them
    threads:      how many CPU threads one trial uses
    determinants: the settings and the data that determine the result, besides its parameters
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
    """What determines the trials of a study; `proposing` determines which ones there are (see `proposals`)."""
    determinants = trial.determinants(settings)
    for section, values in proposing.items():
        determinants[section] = determinants.get(section, {}) | values
    return determinants | {
        CODE: meaning.digest(trial.__module__),
        "versions": {"torch": torch.__version__.partition("+")[0], "optuna": optuna.__version__},
    }


def changed(now: dict[str, Any], before: dict[str, Any]) -> str:
    """The keys in which two fingerprints differ, with their sections as in params.yaml."""
    names = []
    for section in now | before:
        new, old = now.get(section, {}), before.get(section, {})
        if isinstance(new, dict) and isinstance(old, dict):
            names += [f"{section}.{key}" for key in new | old if new.get(key) != old.get(key)]
        elif new != old:
            names.append(section)
    return ", ".join(names).replace("train.train_images", "data.train_images")
