"""params.yaml: what is accepted, what is refused and with which words, presets."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from millrace import params as parameters
from millrace.errors import UserError
from millrace.params import Params
from millrace.roof.params import Airs, Generic, Rid, Roofline
from repository import REPOSITORY


@pytest.fixture
def params_file(workspace: Path) -> Path:
    shutil.copy(REPOSITORY / "params.yaml", workspace)
    shutil.copytree(REPOSITORY / "presets", workspace / "presets")
    return workspace / "params.yaml"


def keys(section: type[BaseModel] | dict[str, Any]) -> Any:
    if isinstance(section, dict):
        return {name: keys(value) if isinstance(value, dict) else None for name, value in section.items()}
    fields = {name: field.annotation for name, field in section.model_fields.items()}
    return {
        name: keys(kind) if isinstance(kind, type) and issubclass(kind, BaseModel) else None
        for name, kind in fields.items()
    }


def test_the_file_names_every_parameter_so_that_each_can_be_varied_with_set_param():
    content = YAML(typ="safe").load(REPOSITORY / "params.yaml")
    content["compression"]["rates"] = None  # its names are the user's
    sources, content["roof"]["raw"] = content["roof"]["raw"], None  # likewise
    content["roof"]["train"]["mix"] = None
    assert keys(dict(content)) == keys(Params)
    formats = {"rid": Rid, "roofline": Roofline, "airs": Airs, "generic": Generic}
    assert {source["format"] for source in sources.values()} == set(formats)
    for source in sources.values():
        assert keys(source) == keys(formats[source["format"]])


def test_the_file_is_valid(params_file):
    assert parameters.load() == parameters.load(params_file)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            ("learning_rate: 0.001", "learning_rte: 0.001"),
            ["train.learning_rte", "did you mean 'learning_rate'"],
        ),
        (("learning_rate: 0.001", "learning_rate: -1.0"), ["spheroid.train.learning_rate is -1.0", "greater than 0"]),
        (("learning_rate: 0.001", "learning_rate: fast"), ["spheroid.train.learning_rate is 'fast'", "number"]),
        (("batch_size: 8", "batch_size: 8.5"), ["spheroid.train.batch_size is 8.5", "integer"]),
        (("schedule: cosine", "schedule: cosin"), ["spheroid.train.schedule", "'cosine', 'step', 'plateau' or 'none'"]),
        (("accumulate: 1 ", "accumulate: 3 "), ["batch_size 8 is not a multiple of accumulate 3"]),
        (("      test: 0.2", "      test: 0.3"), ["train + validation + test is 1.1, must be 1"]),
        (("low_percentile: 0.5", "low_percentile: .nan"), ["low_percentile"]),
        (("jobs: 0 ", "jobs: -1 "), ["runtime.jobs is -1", "greater than or equal to 0"]),
        (("  raw: data", "  rwa: data"), ["spheroid.rwa is unknown; did you mean 'raw'?"]),
        (("runtime:\n", "runtim:\n"), ["runtim is unknown; did you mean 'runtime'?"]),
    ],
)
def test_wrong_parameters_are_explained(params_file, change, expected):
    text = params_file.read_text()
    assert text.count(change[0]) >= 1
    params_file.write_text(text.replace(change[0], change[1], 1))
    with pytest.raises(UserError) as error:
        parameters.load()
    for part in expected:
        assert part in str(error.value)


def test_all_wrong_parameters_are_listed_at_once(params_file):
    text = params_file.read_text().replace("epochs: 14", "epochs: 0").replace("clip_norm: 1.0", "clip_norm: -2.0", 1)
    params_file.write_text(text)
    with pytest.raises(UserError, match="2 wrong parameter") as error:
        parameters.load()
    assert "train.epochs" in str(error.value)
    assert "train.clip_norm" in str(error.value)


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", "runtime: {}\nruntime: {}\n", ""])
def test_a_file_that_is_no_mapping_is_refused(workspace, text):
    (workspace / "params.yaml").write_text(text)
    with pytest.raises(UserError, match=r"params\.yaml"):
        parameters.load()


def test_outside_the_repository_the_error_says_where_to_go(workspace):
    with pytest.raises(UserError, match="repository's root"):
        parameters.load()


def test_numbers_in_exponent_notation_are_numbers(params_file):
    params_file.write_text(params_file.read_text().replace("learning_rate: 0.001", "learning_rate: 3e-4"))
    assert parameters.load().spheroid.train.learning_rate == 3e-4


def test_data_sets_under_names_of_ones_own_are_added_and_removed(params_file):
    mine = "roof.raw.mine={format: generic, path: my_scenes, pixel_size_m: 0.1}"
    after = parameters.apply([], [mine, "roof.raw.rid=null", "roof.raw.airs.path=my_airs", "roof.train.mix.mine=2"])
    assert list(after.roof.raw) == ["roofline", "airs", "full", "mine"]
    assert (after.roof.raw["mine"].path, after.roof.raw["airs"].path) == ("my_scenes", "my_airs")
    assert after.roof.train.mix == {"mine": 2}
    assert "# AIRS as published" in params_file.read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"roof\.raw"):
        parameters.apply([], ["roof.raw.Not-a-Name={format: generic, path: x}"])
    with pytest.raises(UserError, match=r"roof\.raws is not in params\.yaml"):
        parameters.apply([], ["roof.raws=null"])


@pytest.mark.parametrize(
    "assignment",
    ["roof.prepare.height_limits_m=[500, -10]", "roof.prepare.pixel_size_m=1e-300", "roof.raw.airs.pixel_size_m=1e300"],
)
def test_limits_that_leave_nothing(assignment):
    with pytest.raises(UserError, match=assignment.partition("=")[0].replace(".", r"\.")):
        parameters.apply([], [assignment])


def test_an_unknown_parameter_of_a_data_set_is_named_with_those_of_its_format(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(parameters.PARAMS.read_text().replace("format: airs\n", "format: airs\n      fold: 1\n"))
    with pytest.raises(
        UserError, match=r"roof\.raw\.airs\.fold is unknown.* Allowed here: path, pixel_size_m, format$"
    ):
        parameters.load(path)


@pytest.mark.parametrize("preset", sorted(path.stem for path in (REPOSITORY / "presets").glob("*.yaml")))
def test_every_preset_applies_and_keeps_comments(params_file, preset):
    comments = [line.partition("#")[2] for line in params_file.read_text().splitlines() if "#" in line]
    before = parameters.load()
    after = parameters.apply([preset], [])
    assert after != before
    assert parameters.load() == after
    kept = params_file.read_text()
    assert [comment for comment in comments if comment not in kept] == []


def test_assignments_change_single_keys(params_file):
    lines = params_file.read_text().splitlines()
    after = parameters.apply([], ["spheroid.train.epochs=71", "spheroid.raw=data/raw/mine"])
    assert after.spheroid.train.epochs == 71
    assert after.spheroid.raw == "data/raw/mine"
    changed = [line for line in params_file.read_text().splitlines() if line not in lines]
    assert len(changed) == 2


@pytest.mark.parametrize(
    ("presets", "assignments", "message"),
    [
        (["sed"], [], "no preset 'sed'"),
        ([], ["spheroid.train.epoch=7"], "spheroid.train.epoch is not in"),
        ([], ["spheroid.train.epochs"], "key=value"),
        ([], ["spheroid.train.epochs=["], "not valid YAML"),
        ([], ["spheroid.train.epochs=0"], "spheroid.train.epochs is 0"),
        ([], ["spheroid.train=5"], "spheroid.train is 5"),
    ],
)
def test_a_wrong_change_leaves_the_file_alone(params_file, presets, assignments, message):
    before = params_file.read_bytes()
    with pytest.raises(UserError, match=message):
        parameters.apply(presets, assignments)
    assert params_file.read_bytes() == before


def test_a_wrong_key_in_a_list_of_sections_is_explained(params_file):
    with pytest.raises(UserError, match=r"assets.0.trak is unknown; did you mean 'track'"):
        parameters.apply([], ["keyframes.parse.assets=[{trak: 1, asset: 0}]"], params_file)


def test_a_section_that_contradicts_itself_is_named_without_its_content(params_file):
    with pytest.raises(UserError) as error:
        parameters.apply([], ["keyframes.predict.fill_from_s=3", "keyframes.predict.fill_to_s=2"], params_file)
    assert "keyframes.predict: fill_to_s 2 must lie after fill_from_s 3" in str(error.value)
    assert "{" not in str(error.value)


def test_a_file_that_is_not_utf8_is_refused(params_file):
    params_file.write_bytes("a: \xe4".encode("latin-1"))
    with pytest.raises(UserError, match="UTF-8"):
        parameters.load(params_file)
