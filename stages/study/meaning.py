"""The meaning of code, as a digest: whether a trial's code has changed in a way that can change its result."""

import ast
import hashlib
import importlib.util
from collections.abc import Iterator

PROJECT = "stages"
# What changes no result: of settings the values count, which a fingerprint holds itself; nor does it matter here which
# device runs a trial and how it keeps its memory, or what an error says.
IGNORED = ("stages.settings", "stages.common.device", "stages.common.errors")


def digest(module: str) -> str:
    """The digest of a module and of all modules of the project that it imports, directly or not.

    It is the same under every Python. Comments, docstrings, and where a module lies, change no trial and do not count.
    """
    meanings: dict[str, str] = {}
    names = [module]
    while names:
        name = names.pop()
        if name not in meanings and not name.startswith(IGNORED):
            tree = ast.parse(_source(name))
            names += _imports(tree)
            meanings[name] = meaning(tree)
    # Sorted by what they say: a module that is moved or renamed says the same.
    return hashlib.sha256("\n\n".join(sorted(meanings.values())).encode()).hexdigest()


def meaning(tree: ast.AST) -> str:
    """A syntax tree in words that no version of Python changes.

    `ast.dump` and `ast.unparse` differ between versions, as nodes get fields that most code leaves empty: so what is
    empty is left out.
    """
    return "\n".join(_words(tree))


def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    source = spec.loader.get_source(module) if spec and spec.loader else None  # type: ignore[attr-defined]
    if source is None:
        raise ModuleNotFoundError(module)
    return source


def _imports(tree: ast.AST) -> Iterator[str]:
    """The modules of the project that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and _of_project(node):
            module = str(node.module)
            spec = importlib.util.find_spec(module)
            is_package = spec and spec.submodule_search_locations
            for submodule in (f"{module}.{alias.name}" for alias in node.names):
                yield submodule if is_package and importlib.util.find_spec(submodule) else module


def _of_project(node: ast.ImportFrom) -> bool:
    return str(node.module).partition(".")[0] == PROJECT


def _words(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom) and _of_project(node):
        return
    yield type(node).__name__
    for name, value in ast.iter_fields(node):
        parts = value if isinstance(value, list) else [value]
        if name == "body" and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            parts = parts[1:] if ast.get_docstring(node, clean=False) is not None else parts
        if isinstance(node, ast.JoinedStr):  # Python 3.12 has empty strings in some f-strings
            parts = [part for part in parts if not (isinstance(part, ast.Constant) and part.value == "")]
        if name in ("type_comment", "kind", "ctx") or not any(part is not None for part in parts):
            continue
        yield f"{name}:"
        for part in parts:
            if isinstance(part, ast.AST):
                yield from _words(part)
            else:
                yield f"{type(part).__name__} {part!r}"
    yield "."
