"""Errors that are the user's to mend: they are printed without a traceback and say what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class UserError(Exception):
    """Something outside the program is wrong: a file, a parameter, the command line."""


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong with one raw file."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class ImageError(UserError):
    """A file cannot be used as an image; the message says why, without the file's name."""


class DataError(UserError):
    """Raw data has problems; all of them are listed at once."""

    def __init__(self, summary: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{summary}\n{lines}")
