"""What determines the trials of a study, in a form that can be kept with them and compared."""

import ast
import hashlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Protocol

import optuna
import torch

from stages.params import Params, Sweep

Points = list[dict[str, float]]


class Evaluation(Protocol):
    """What evaluates trials in a worker: called with the parameters of one, it gives its result.

    A result is a mapping that JSON can hold, with `accuracy`, which studies maximize, and `device`, its kind.
    """

    MODULES: ClassVar[tuple[ModuleType, ...]]  # whose code determines the results

    def __init__(self, settings: Params, root: Path = Path()):
        """root: the folder that the project's data lie in"""

    @staticmethod
    def check(settings: Params) -> None:
        """raises: InputError if what it reads is not there or is damaged"""

    @staticmethod
    def files(settings: Params) -> list[Path]:
        """The files that it reads: a cluster's workers get them."""

    @staticmethod
    def threads(settings: Params) -> int:
        """How many CPU threads one evaluation uses."""

    @staticmethod
    def determinants(settings: Params) -> dict[str, dict]:
        """The settings and the data that determine the results, beside the parameters of the trial."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


def fingerprint(settings: Params, wanted: Sweep | Points, evaluation: type[Evaluation]) -> dict:
    """Everything that determines the trials of a study: trials are used again only where all of it is the same.

    wanted: what is proposed (see `trials.run`); of points, only what they leave to the settings counts
    """
    determinants = evaluation.determinants(settings)
    if isinstance(wanted, Sweep):
        proposing = {"sampler", "seed", "batch", "space"} | ({"grid"} if wanted.sampler == "grid" else set())
        determinants["sweep"] = wanted.model_dump(include=proposing)
    else:
        named = {name for point in wanted for name in point}
        for section, values in determinants.items():
            determinants[section] = {name: value for name, value in values.items() if name not in named}
    code = "".join(_meaning(module) for module in evaluation.MODULES)
    return determinants | {
        "code of the evaluation": hashlib.sha256(code.encode()).hexdigest(),
        "versions": {"torch": torch.__version__.partition("+")[0], "optuna": optuna.__version__},
    }


def _meaning(module: ModuleType) -> str:
    """The source of a module without its comments and docstrings: what they say changes no trial."""
    tree = ast.parse(inspect.getsource(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
