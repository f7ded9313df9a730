"""What determines the trials of a study, in a form that can be kept with them and compared."""

import ast
import hashlib
import inspect
from types import ModuleType

import optuna
import torch

from stages import lenet, mnist, training
from stages.params import Params


def fingerprint(settings: Params) -> dict[str, object]:
    """Everything that determines the trials of a study: trials are used again only where all of it is the same."""
    proposing = {"sampler", "seed", "batch", "space"} | ({"grid"} if settings.sweep.sampler == "grid" else set())
    code = "".join(_meaning(module) for module in (lenet, mnist, training))
    return {
        "data": settings.data.model_dump() | {name: sha256 for name, (_, sha256) in mnist.FILES.items()},
        "train": settings.train.model_dump(),
        "sweep": settings.sweep.model_dump(include=proposing),
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
