"""params.yaml, loaded once and validated whole: the only source of settings."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from millrace.compression.params import Compression
from millrace.detection.params import Detection
from millrace.errors import UserError
from millrace.files import write_text
from millrace.keyframes.params import Keyframes
from millrace.roof.params import Roof
from millrace.settings import Runtime, Section
from millrace.spheroid.params import Spheroid

PARAMS = Path("params.yaml")
PRESETS = Path("presets")


class Params(Section):
    """The whole of params.yaml: `runtime` and one section a task."""

    runtime: Runtime = Runtime()
    spheroid: Spheroid = Spheroid()
    keyframes: Keyframes = Keyframes()
    compression: Compression = Compression()
    detection: Detection = Detection()
    roof: Roof = Roof()


def load(path: Path = PARAMS) -> Params:
    """Read and validate a parameter file.

    Raises:
        UserError: Every key that is unknown, of a wrong type or out of range, each with its value and what is allowed.
    """
    return _validated(_read(path), path)


def _validated(content: Any, path: Path) -> Params:
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        lines = "\n".join(f"  {_explain(detail)}" for detail in error.errors())
        raise UserError(f"{path} has {error.error_count()} wrong parameter(s):\n{lines}") from None


def apply(presets: list[str], assignments: list[str], path: Path = PARAMS) -> Params:
    """Write presets, then single assignments, into a parameter file; its comments and order stay.

    Args:
        presets: Names of files in `presets/` without their ending, applied in this order.
        assignments: `dotted.key=value`, the value in YAML. Where users choose the names of entries, a new one adds an
            entry, and the value null removes it.
        path: The file to change. It is not touched when the result would be wrong.
    """
    content = _read(path)
    for name in presets:
        file = PRESETS / f"{name}.yaml"
        if not file.is_file():
            known = ", ".join(sorted(preset.stem for preset in PRESETS.glob("*.yaml")))
            raise UserError(f"There is no preset '{name}'. Known: {known}")
        _merge(content, _read(file), file, "")
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator:
            raise UserError(f"'{assignment}' is not of the form key=value")
        try:
            nested: Any = YAML(typ="safe").load(value)
        except (YAMLError, RecursionError) as error:
            raise UserError(f"'{assignment}': the value is not valid YAML: {error}") from None
        for part in reversed(key.split(".")):
            nested = {part: nested}
        _merge(content, nested, Path("--set"), "")
    params = _validated(content, path)
    write_text(path, lambda stream: _yaml().dump(content, stream))
    return params


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 120
    # A null stays the word that it was; ruamel would write nothing in its place.
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml


def _read(path: Path) -> Any:
    try:
        content = _yaml().load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is not in {Path.cwd()}. Run this in the repository's root folder.") from None
    except (YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not valid YAML in UTF-8: {error}") from None
    if not isinstance(content, Mapping):
        raise UserError(f"{path} must hold sections with keys, found {type(content).__name__}")
    return content


def _merge(target: Any, source: Mapping[str, Any], origin: Path, prefix: str) -> None:
    names = _names_are_free(prefix.split(".")[:-1])
    for key, value in source.items():
        if names and value is None:
            target.pop(key, None)
        elif names and key not in target:
            target[key] = value
        elif key not in target:
            raise UserError(f"{origin}: {prefix}{key} is not in {PARAMS}; there: {', '.join(target)}")
        elif isinstance(value, Mapping) and isinstance(target[key], Mapping):
            _merge(target[key], value, origin, f"{prefix}{key}.")
        else:
            target[key] = value


def _names_are_free(keys: list[str]) -> bool:
    """Whether a section holds entries under names that users choose, as `roof.raw` does."""
    annotation: Any = Params
    for key in keys:
        fields = getattr(annotation, "model_fields", {})  # of a section; others have none
        if key not in fields:
            return False
        annotation = fields[key].annotation
    return get_origin(annotation) is dict


def _explain(detail: ErrorDetails) -> str:
    keys = _keys(detail)
    name = ".".join(keys) or "the file"
    if detail["type"] == "extra_forbidden":
        known = list(_section(detail["loc"][:-1]))
        close = difflib.get_close_matches(keys[-1], known, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        return f"{name} is unknown{hint} Allowed here: {', '.join(known)}"
    message = detail["msg"].removeprefix("Value error, ")
    if isinstance(detail["input"], Mapping):  # a whole section, of which the message says what is wrong
        return f"{name}: {message}"
    return f"{name} is {detail['input']!r}: {message[0].lower()}{message[1:]}"


def _keys(detail: ErrorDetails) -> list[str]:
    """Where a parameter stands; of entries that have one of several forms, pydantic also names the form."""
    keys = [str(key) for key in detail["loc"]]
    return [key for place, key in enumerate(keys) if place < 2 or not _names_are_free(keys[: place - 1])]


def _section(keys: Sequence[int | str]) -> Mapping[str, Any]:
    """Fields of the section at a path as pydantic has it: with places in lists, and forms of entries."""
    annotation: Any = Params
    for key in keys:
        models = _models(annotation)
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        elif len(models) > 1:  # one of them, told by the value of its field for the form
            annotation = next(each for each in models if str(key) in map(_form, each.model_fields.values()))
        elif isinstance(key, str):
            annotation = models[0].model_fields[key].annotation
    return _models(annotation)[0].model_fields


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Sections in an annotation, which may be optional, a list of sections, or one of several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _form(field: FieldInfo) -> str | None:
    """The only value that a field may have."""
    values = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return str(values[0]) if len(values) == 1 else None
