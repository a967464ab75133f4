"""Where a running training keeps what it needs to go on after a crash: outside DVC's outs, which DVC deletes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from millrace.files import write_json


class Scratch:
    """Checkpoints of one training, valid for one fingerprint.

    Layout: `resume/{fingerprint.json,last.ckpt,best.ckpt}`, deleted when the training succeeds, and
    `periodic/epoch-*.ckpt`, kept until the next fresh start.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.resume = folder / "resume"
        self.periodic = folder / "periodic"

    def changed_since_interruption(self, fingerprint: dict[str, str]) -> list[str] | None:
        """Names of the parts that changed since an interrupted training; empty: it can go on; None: there is none."""
        try:
            stored = json.loads((self.resume / "fingerprint.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            stored = {}
        # In this order: another process may be starting afresh, and it deletes before it writes its fingerprint.
        if not (self.resume / "last.ckpt").is_file():
            return None
        return sorted(key for key in fingerprint if stored.get(key) != fingerprint[key])

    def start(self, fingerprint: dict[str, str]) -> None:
        """Forget any earlier training."""
        for folder in (self.resume, self.periodic):
            shutil.rmtree(folder, ignore_errors=True)
        write_json(self.resume / "fingerprint.json", fingerprint)

    def finish(self) -> None:
        shutil.rmtree(self.resume, ignore_errors=True)
