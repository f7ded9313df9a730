"""What determines the trials of a study, in a form that can be kept with them and compared."""

import ast
import hashlib
import inspect
from types import ModuleType

import optuna
import torch

from stages.evaluation import Evaluation
from stages.params import Params, Sweep

Points = list[dict[str, float]]


def fingerprint(settings: Params, wanted: Sweep | Points, evaluation: type[Evaluation] = Evaluation) -> dict:
    """Everything that determines the trials of a study: trials are used again only where all of it is the same.

    wanted: what is proposed (see `trials.run`); of points, only what they leave to the settings counts
    """
    determinants = evaluation.determinants(settings)
    if isinstance(wanted, Sweep):
        proposing = {"sampler", "seed", "batch", "space"} | ({"grid"} if wanted.sampler == "grid" else set())
        determinants["sweep"] = wanted.model_dump(include=proposing)
    else:
        named = {name for point in wanted for name in point}
        determinants["train"] = {name: value for name, value in determinants["train"].items() if name not in named}
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
