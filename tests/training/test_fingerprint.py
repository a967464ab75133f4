"""What makes an interrupted training start afresh."""

from __future__ import annotations

import pytest

from millrace.training.fingerprint import fingerprint
from millrace.training.scratch import Scratch


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.npy").write_bytes(b"1")
    (folder / "deep/b.npy").write_bytes(b"2")
    (tmp_path / "start.safetensors").write_bytes(b"w")
    return folder


def print_of(data, parameters=None, module="millrace.spheroid.train"):
    return fingerprint(data, parameters or {"epochs": 3}, module, [data.parent / "start.safetensors"])


def test_each_part_is_told_apart(data):
    before = print_of(data)
    assert print_of(data) == before
    changed = {
        "parameters": print_of(data, {"epochs": 4}),
        "code": print_of(data, module="millrace.spheroid.sample"),
    }
    (data / "deep/b.npy").write_bytes(b"3")
    changed["data"] = print_of(data)
    (data / "deep/b.npy").write_bytes(b"2")
    (data.parent / "start.safetensors").write_bytes(b"v")
    changed["weights start.safetensors"] = print_of(data)
    for part, found in changed.items():
        assert [key for key in before if before[key] != found[key]] == [part]


def test_a_moved_byte_is_a_change(data):
    before = print_of(data)
    (data / "a.npy").rename(data / "c.npy")
    assert print_of(data)["data"] != before["data"]


def install(folder, version: str, record: str | None) -> None:
    """What an installer leaves of a library."""
    noted = folder / "home_made.dist-info"
    noted.mkdir(parents=True, exist_ok=True)
    (noted / "METADATA").write_text(f"Metadata-Version: 2.1\nName: home-made\nVersion: {version}\n")
    if record is not None:
        (noted / "RECORD").write_text(record)


def test_another_build_of_a_named_library_is_a_change_though_its_version_stays(data, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path / "site")

    def libraries(version: str, record: str | None) -> str:
        install(tmp_path / "site", version, record)
        return fingerprint(data, {}, "millrace.spheroid.train", libraries=("home-made",))["libraries"]

    plain = fingerprint(data, {}, "millrace.spheroid.train")["libraries"]
    assert "home-made" not in plain
    told = [libraries("0.6", None), libraries("0.6", "a.py,sha256=x,1\n"), libraries("0.6", "a.py,sha256=y,1\n")]
    told.append(libraries("0.7", "a.py,sha256=y,1\n"))
    assert len(set(told)) == 4
    assert all(each.startswith(f"{plain} home-made-0.") for each in told)
    assert libraries("0.7", "a.py,sha256=y,1\n") == told[-1]


def test_scratch_names_what_changed(tmp_path):
    scratch = Scratch(tmp_path)
    assert scratch.changed_since_interruption({"data": "1"}) is None
    scratch.start({"data": "1", "code": "1"})
    assert scratch.changed_since_interruption({"data": "1", "code": "1"}) is None  # no checkpoint yet
    (scratch.resume / "last.ckpt").touch()
    assert scratch.changed_since_interruption({"data": "1", "code": "1"}) == []
    assert scratch.changed_since_interruption({"data": "2", "code": "2"}) == ["code", "data"]
    (scratch.resume / "fingerprint.json").write_text("{")
    assert scratch.changed_since_interruption({"data": "1"}) == ["data"]
    scratch.start({"data": "1"})
    assert scratch.changed_since_interruption({"data": "1"}) is None
