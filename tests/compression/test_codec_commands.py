"""The commands compress, decompress and info: what they print, their exit codes, and what they refuse."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mrz_models import read_tiff, speckled_amplitude, write_tiff

from millrace.cli import main
from millrace.compression import container
from millrace.compression.codec_model import load
from millrace.compression.header import Header
from repository import REPOSITORY


@pytest.fixture
def scene(workspace, models) -> Path:
    """`scene.tif` in a working directory with settings and models."""
    shutil.copy(REPOSITORY / "params.yaml", workspace)
    (workspace / "models").mkdir()
    (workspace / "models" / "compression").symlink_to(models)
    return write_tiff(workspace / "scene.tif", speckled_amplitude(60, 70), nodata=0)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refused(capsys, *arguments: object) -> str:
    """What a command that writes nothing says."""
    before = names(Path())
    assert main(list(map(str, arguments))) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert "Traceback" not in said.err
    assert names(Path()) == before
    return said.err


def test_there_and_back(scene, capsys):
    assert main(["compress", "scene.tif", "--out", "scene.mrz"]) == 0
    size = Path("scene.mrz").stat().st_size
    assert f"scene.mrz: {size} bytes, {8 * size / 4200:.3g} bits per pixel" in capsys.readouterr().out
    assert main(["info", "scene.mrz"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert (described["width"], described["height"], described["dtype"]) == (70, 60, "uint16")
    assert described["damaged"] == []
    assert main(["decompress", "scene.mrz", "--out", "new/folder/back.tif"]) == 0
    assert "Raster: new/folder/back.tif" in capsys.readouterr().out
    assert read_tiff(Path("new/folder/back.tif")).shape == (1, 60, 70)


@pytest.mark.parametrize("wanted", ["--quality=q1", "--quality=2", "--quality=2.5", "--rate=1.5", "--psnr=28"])
def test_what_is_wanted_is_one_option(wanted, scene, capsys):
    assert main(["compress", "scene.tif", "--out", "scene.mrz", wanted]) == 0
    assert "rate point q" in capsys.readouterr().out


def test_two_wishes_are_a_usage_error(scene, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["compress", "scene.tif", "--out", "scene.mrz", "--rate=1", "--psnr=30"])
    assert stop.value.code == 2


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--quality=best", "best"), ("--quality=4", "number from 1 to 3"), ("--quality=nan", "nan"),
        ("--quality=", "--quality"), ("--rate=0", "rate"), ("--rate=-1", "rate"), ("--rate=nan", "rate"),
        ("--psnr=nan", "psnr"), ("--psnr=inf", "psnr"),
    ],
)  # fmt: skip
def test_wrong_wishes_are_refused(option, said, scene, capsys):
    assert said in refused(capsys, "compress", "scene.tif", "--out", "scene.mrz", option)


@pytest.mark.parametrize("low_high", [("99", "1"), ("1", "150"), ("-5", "99"), ("nan", "99")])
def test_wrong_percentiles_are_refused(low_high, scene, capsys):
    assert "percentiles" in refused(capsys, "compress", "scene.tif", "--out", "a.mrz", "--percentiles", *low_high)


def test_a_target_out_of_reach_is_said(scene, capsys):
    assert main(["compress", "scene.tif", "--out", "scene.mrz", "--rate=90"]) == 0
    said = capsys.readouterr()
    assert "90" in said.err
    assert "warning" in said.err.lower()
    assert main(["compress", "scene.tif", "--out", "scene.mrz", "--psnr=90"]) == 0
    assert "90" in capsys.readouterr().err


@pytest.mark.parametrize("source", ["missing.tif", "models", "params.yaml", "empty.tif", "cut.tif"])
@pytest.mark.parametrize("command", ["compress", "decompress", "info"])
def test_inputs_that_are_none_are_refused_by_name(source, command, scene, capsys):
    Path("empty.tif").touch()
    Path("cut.tif").write_bytes(scene.read_bytes()[:600])
    out = [] if command == "info" else ["--out", "out.x"]
    assert source in refused(capsys, command, source, *out)


@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_outputs_that_cannot_be_written_are_refused_by_name(command, scene, capsys):
    assert main(["compress", "scene.tif", "--out", "scene.mrz"]) == 0
    capsys.readouterr()
    source = "scene.tif" if command == "compress" else "scene.mrz"
    assert "models" in refused(capsys, command, source, "--out", "models")
    assert "params.yaml" in refused(capsys, command, source, "--out", "params.yaml/out.x")
    assert source in refused(capsys, command, source, "--out", source)
    assert names(Path("models")) == ["compression"]


def test_models_that_are_none_are_refused_by_name(scene, models, capsys):
    assert main(["compress", "scene.tif", "--out", "scene.mrz"]) == 0
    capsys.readouterr()
    Path("empty").mkdir()
    shutil.copytree(models, "broken")
    for rate in ("q1", "q2", "q3"):
        Path("broken", rate, "model.safetensors").write_bytes(b"broken")
    for command, folder in [(c, f) for c in ("compress", "decompress") for f in ("missing", "empty", "broken")]:
        source = "scene.tif" if command == "compress" else "scene.mrz"
        assert folder in refused(capsys, command, source, "--out", "out.x", "--model", folder)


def test_damage_is_listed_and_tells_by_the_exit_code(scene, capsys):
    assert main(["compress", "scene.tif", "--out", "scene.mrz"]) == 0
    data = bytearray(Path("scene.mrz").read_bytes())
    data[-20] ^= 1
    Path("scene.mrz").write_bytes(data)
    capsys.readouterr()
    assert main(["decompress", "scene.mrz", "--out", "back.tif"]) == 1
    said = capsys.readouterr()
    assert "damaged: pixels of band 1, block row 1, block column 1: its checksum differs" in said.err
    assert not read_tiff(Path("back.tif")).any()
    assert main(["info", "scene.mrz"]) == 1
    assert len(json.loads(capsys.readouterr().out)["damaged"]) == 1


def evil(models: Path, **fields: object) -> None:
    usual = {
        "width": 32,
        "height": 32,
        "dtype": "uint16",
        "values": "amplitude",
        "ranges": ((30.0, 50.0),),
        "step": 1.0,
    }
    header = Header(**(usual | {"fingerprint": load(models / "q2")[1]} | fields))
    container.write(Path("evil.mrz"), header, [[b"x"] * (header.grid[0] * header.grid[1])] * header.bands)


@pytest.mark.parametrize("metadata", [{"tags": {"A": "\ud800"}}, json.loads('{"a":' * 900 + "1" + "}" * 900)])
def test_info_survives_odd_metadata(metadata, scene, models):
    """In a process of its own: a stream that is no file takes characters that a terminal does not."""
    evil(models, metadata=metadata)
    arguments = [sys.executable, REPOSITORY / "src" / "millrace", "info", "evil.mrz"]
    result = subprocess.run(arguments, capture_output=True, text=True)
    assert result.returncode in (0, 2)
    assert "Traceback" not in result.stderr


def test_info_gives_georeferencing_as_it_is(scene, capsys):
    with_place = write_tiff(
        Path("b.tif"), np.full((9, 9), 7, np.uint16), transform=[10, 0, 399961.25, 0, -10, 4512345.5]
    )
    assert main(["compress", str(with_place), "--out", "b.mrz"]) == 0
    capsys.readouterr()
    assert main(["info", "b.mrz"]) == 0
    assert json.loads(capsys.readouterr().out)["metadata"]["transform"] == [10, 0, 399961.25, 0, -10, 4512345.5]


def test_info_tells_nan_from_no_nodata(scene, capsys):
    found = []
    for nodata in (None, np.nan):
        write_tiff(Path("b.tif"), np.full((9, 9), 7, np.float32), nodata=nodata)
        assert main(["compress", "b.tif", "--out", "b.mrz"]) == 0
        capsys.readouterr()
        assert main(["info", "b.mrz"]) == 0
        found.append(json.loads(capsys.readouterr().out)["nodata"])
    assert found[0] is None
    assert found[1] is not None


def test_a_short_file_of_many_blocks_is_listed_in_time(scene, models):
    """Hundreds of thousands of damaged blocks: not one more comparison for each than needed."""
    evil(models, width=16 * 600, height=16 * 600, block_px=16)
    data = Path("evil.mrz").read_bytes()
    Path("evil.mrz").write_bytes(data[: -5 * 360_000 + 100])
    arguments = [sys.executable, REPOSITORY / "src" / "millrace", "info", "evil.mrz"]
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
    assert result.returncode == 1
