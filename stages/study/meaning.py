"""A digest of what code does: could a change of a trial's code change its result?"""

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from typing import TypeGuard

# These change no result. A fingerprint holds the values of settings.
IGNORED = ("stages.settings", "stages.common.device", "stages.common.errors")


def digest(module: str) -> str:
    """The digest of a module and all project modules that it imports, directly or not.

    It ignores the Python version, comments, docstrings and the names of modules.
    """
    meanings: dict[str, str] = {}
    names = [module]
    while names:
        name = names.pop()
        if name not in meanings and not name.startswith(IGNORED):
            loader = importlib.util.find_spec(name).loader  # type: ignore[union-attr]
            tree = ast.parse(loader.get_source(name))  # type: ignore[union-attr]
            names += _imports(tree)
            meanings[name] = meaning(tree)
    # Sorted by content, so that moving or renaming a module changes nothing.
    return hashlib.sha256("\n\n".join(sorted(meanings.values())).encode()).hexdigest()


def meaning(node: ast.AST) -> str:
    """A syntax tree as text, without imports from the project. Unlike `ast.dump`, it leaves out empty fields, which
    differ between Python versions."""
    words = [type(node).__name__]
    for name, value in ast.iter_fields(node):
        parts = value if isinstance(value, list) else [value]
        if name == "body" and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            parts = parts[1:] if ast.get_docstring(node, clean=False) is not None else parts
        if isinstance(node, ast.JoinedStr):  # Python 3.12 has empty strings in some f-strings
            parts = [part for part in parts if not (isinstance(part, ast.Constant) and part.value == "")]
        if name in ("type_comment", "kind", "ctx") or not any(part is not None for part in parts):
            continue
        words.append(f"{name}:")
        for part in parts:
            if not _of_project(part):
                words.append(meaning(part) if isinstance(part, ast.AST) else f"{type(part).__name__} {part!r}")
    return "\n".join([*words, "."])


def _imports(tree: ast.AST) -> Iterator[str]:
    """The project modules that a module imports."""
    for node in filter(_of_project, ast.walk(tree)):
        module = str(node.module)
        is_package = importlib.util.find_spec(module).submodule_search_locations  # type: ignore[union-attr]
        for submodule in (f"{module}.{alias.name}" for alias in node.names):
            yield submodule if is_package and importlib.util.find_spec(submodule) else module


def _of_project(node: object) -> TypeGuard[ast.ImportFrom]:
    return isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "stages"
