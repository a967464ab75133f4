"""Which of the project's files a module imports, read from the source without running it.

A stage's dependencies in dvc.yaml are held to this list by a test, and it tells a resumed training whether the code
that it started with is still the code on disk.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "millrace"


def module_file(module: str) -> Path | None:
    """File of a module of this package, or None for anything else. Package files (`__init__.py`) hold no code."""
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    return path if path.is_file() else None


def _imported_names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.level:
                raise ValueError(f"{path}: relative import in line {node.lineno}; write it in full")
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def import_closure(module: str) -> list[Path]:
    """Files of this package that `module` imports, directly or not, inside functions too; itself included, sorted."""
    start = module_file(module)
    if start is None:
        raise ValueError(f"{module} is not a module of {PACKAGE}")
    found = {start}
    waiting = [start]
    while waiting:
        for name in _imported_names(waiting.pop()):
            path = module_file(name) if name.startswith(f"{PACKAGE}.") else None
            if path is not None and path not in found:
                found.add(path)
                waiting.append(path)
    return sorted(found)
