"""A copy of the repository with a small sample, and the real dvc run in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from repository import REPOSITORY

BIN = Path(sys.executable).parent
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_"))},
    "PATH": f"{BIN}:{os.environ['PATH']}",
    "DVC_NO_ANALYTICS": "1",
    "DVC_STUDIO_OFFLINE": "true",
    "OMP_NUM_THREADS": "1",
    **{f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}
SMALL = [
    "runtime.progress=false",
    "runtime.jobs=1",
    "spheroid.sample.images=10",
    "spheroid.sample.size_px=64",
    "spheroid.train.epochs=2",
    "spheroid.train.batch_size=4",
    "spheroid.train.pictures_every=0",
    "spheroid.train.patches.size_px=32",
    "spheroid.train.patches.per_image=2",
    "spheroid.train.model.decoder_channels=[8, 8, 8, 8, 8]",
    "spheroid.evaluate.tile_px=64",
    "keyframes.sample.videos=6",
    "keyframes.train.epochs=2",
    "keyframes.train.pictures_every=0",
    "keyframes.train.per_window=1",
    "keyframes.train.batch_size=4",
    "keyframes.train.model.layers=1",
    "keyframes.train.model.width=8",
    "keyframes.evaluate.stride=40",
    "compression.sample.scenes=8",
    "compression.sample.size_px=192",
    "compression.prepare.patch_px=64",
    "compression.prepare.stride_px=64",
    "compression.train.epochs=1",
    "compression.train.batch_size=4",
    "compression.train.pictures_every=0",
    "compression.train.crop_px=48",
    "compression.train.per_patch=1",
    "compression.train.model.width=8",
    "compression.train.calibration_patches=2",
    "compression.evaluate.codecs=[jpeg2000]",
    "compression.evaluate.examples=1",
    "detection.sample.images=24",
    "detection.sample.width_px=128",
    "detection.sample.height_px=128",
    "detection.train.epochs=1",
    "detection.train.batch_size=4",
    "detection.train.pictures_every=0",
    "detection.train.resize={short_side_px: 64, long_side_px: 96}",
    "detection.train.model.encoder=resnet10t",
    "detection.train.model.encoder_weights=null",
    "detection.train.model.norm=batch",
    "detection.train.model.channels=8",
    "detection.train.model.head=16",
    "detection.train.model.proposals=20",
    "detection.train.model.rois=16",
    "detection.evaluate.examples=2",
    "roof.sample.rid=16",
    "roof.sample.roofline=40",
    "roof.sample.airs=3",
    "roof.sample.full=2",
    "roof.sample.rid_size_px=96",
    "roof.sample.airs_size_px=256",
    "roof.sample.pixel_size_m=0.5",
    "roof.train.epochs=1",
    "roof.train.batch_size=4",
    "roof.train.pictures_every=0",
    "roof.train.patches={size_px: 64, per_epoch: 8, validation_per_source: 2}",
    "roof.train.model.encoder=resnet10t",
    "roof.train.model.encoder_weights=null",
    "roof.train.model.decoder_channels=[8, 8, 8]",
    "roof.train.model.head_channels=8",
    "roof.evaluate.tile_px=64",
]


class Copy:
    """The tracked files of this repository, committed to a repository of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True, text=True)
        for name in filter(None, listed.stdout.split("\0")):
            if (REPOSITORY / name).is_file() and not name.startswith(("tests/", "docs/", "metrics/", "dvc.lock")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, folder / name)
        self.run("git", "init", "-q")
        self.millrace("params", *(part for assignment in SMALL for part in ("--set", assignment)))
        self.commit("start")

    def run(self, *command: str, fails: bool = False, timeout: int = 600) -> str:
        """Output and errors of a command that has to succeed, or to fail."""
        result = subprocess.run(
            command,
            cwd=self.folder,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        assert (result.returncode != 0) == fails, f"{command}: {result.returncode}\n{result.stdout}"
        return result.stdout

    def dvc(self, *arguments: str, fails: bool = False) -> str:
        return self.run("dvc", *arguments, fails=fails)

    def millrace(self, *arguments: str, fails: bool = False) -> str:
        return self.run("python", "src/millrace", *arguments, fails=fails)

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "-m", message)

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()


def stages_run(output: str) -> list[str]:
    """Names of the stages that dvc says it ran."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]
