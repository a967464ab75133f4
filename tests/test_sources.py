"""The import closure, and dvc.yaml held to it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from ruamel.yaml import YAML

from millrace.sources import ROOT, import_closure
from repository import REPOSITORY

STAGES: dict[str, Any] = YAML(typ="safe").load((REPOSITORY / "dvc.yaml").read_text())["stages"]


def relative(module: str) -> list[str]:
    return [f"src/{path.relative_to(ROOT).as_posix()}" for path in import_closure(module)]


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_exactly_the_files_that_it_imports(name):
    stage = STAGES[name].get("do", STAGES[name])
    step, task = stage["cmd"].removeprefix("python src/millrace ").split()[:2]
    declared = [path for path in stage["deps"] if path.startswith("src/")]
    assert declared == relative(f"millrace.{task}.{step}")


def test_imports_inside_functions_count():
    assert "src/millrace/training/export.py" in relative("millrace.cli")


def test_every_file_that_a_stage_loads_is_in_its_closure():
    code = "import sys; sys.path.insert(0, 'src'); import millrace.spheroid.train; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    closure = {path.removeprefix("src/").removesuffix(".py") for path in relative("millrace.spheroid.train")}
    modules = {name.replace(".", "/") for name in loaded.stdout.split() if name.startswith("millrace.")}
    packages = {str(path.parent.relative_to(ROOT)) for path in ROOT.rglob("__init__.py")}
    assert modules - packages == closure


@pytest.mark.parametrize("package", sorted(ROOT.rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_package_files_hold_no_code(package):
    """They are left out of the closure, so they must not be able to change a result."""
    text = package.read_text()
    assert text.startswith('"""')
    assert text.rstrip().endswith('"""')
    assert text.count('"""') == 2


@pytest.mark.parametrize("module", ["millrace.nothing", "numpy", "millrace"])
def test_what_is_no_module_of_the_package_is_refused(module):
    with pytest.raises(ValueError, match=module):
        import_closure(module)
