"""What the `detection` section accepts, and what it says of the rest."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from millrace.detection.params import Detection, Given, Model, Resize, Train
from millrace.params import Params


def test_the_default_section_is_complete():
    assert Params().detection == Detection()
    assert Detection.model_validate(Detection().model_dump(mode="json")) == Detection()


def test_lists_of_yaml_become_tuples():
    model = Model.model_validate({"levels": [2, 3], "anchors_px": [16, 32], "aspect_ratios": [1]})
    assert (model.levels, model.anchors_px, model.aspect_ratios) == ((2, 3), (16.0, 32.0), (1.0,))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": [3, 5]}, r"levels \[3, 5\] must be consecutive"),
        ({"levels": [4, 3]}, r"levels \[4, 3\] must be consecutive"),
        ({"levels": []}, "levels"),
        ({"levels": [6]}, "levels"),  # which is pooled from the one below
        ({"levels": [1, 2]}, r"levels \[1, 2\] must"),
        ({"levels": [5, 6, 7]}, r"levels \[5, 6, 7\] must"),
        ({"anchors_px": [16.0]}, "anchors_px has 1 sizes for 3 levels"),
        ({"anchors_px": [0.0, 16.0, 32.0]}, "anchors_px"),
        ({"aspect_ratios": [1.0, -1.0]}, "aspect_ratios"),
        ({"aspect_ratios": []}, "aspect_ratios"),
        ({"backend": "mmdet"}, "'torchvision' or 'detectron2'"),
        ({"architecture": "retinanet"}, "Input should be"),
        ({"norm": "layer"}, "'batch', 'frozen' or 'group'"),
        ({"frozen_stages": 6}, "less than or equal to 5"),
        ({"frozen_stages": "1"}, "valid integer"),
        ({"layers": 5}, "Extra inputs are not permitted"),
    ],
)
def test_models_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        Model.model_validate(changes)


def test_the_long_side_is_not_the_shorter_one():
    assert Resize(short_side_px=64, long_side_px=64).long_side_px == 64
    with pytest.raises(ValidationError, match="long_side_px 63 is less than short_side_px 64"):
        Resize(short_side_px=64, long_side_px=63)


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ({"augmentation": {"flip": 1.5}}, "flip"),
        ({"augmentation": {"scale": 0.5}}, "scale"),
        ({"augmentation": {"scale": float("inf")}}, "scale"),
        ({"augmentation": {"crop_share": 0.0}}, "crop_share"),
        ({"augmentation": {"brightness": 1.0}}, "brightness"),
        ({"augmentation": {"hue": 0.6}}, "hue"),
        ({"repeat": 2.0}, "repeat"),
        ({"average_decay": 1.0}, "average_decay"),
        ({"average_decay": 0.0}, "average_decay"),
        ({"resize": {"short_side_px": 16}}, "short_side_px"),
    ],
)
def test_training_settings_out_of_range_are_refused(section, value):
    with pytest.raises(ValidationError, match=value):
        Train.model_validate(section)


def test_lists_of_a_given_split_are_those_that_are_named():
    assert Given().lists == {}
    assert Given(train="a.txt", test="b/c.json").lists == {"train": "a.txt", "test": "b/c.json"}


@pytest.mark.parametrize(
    ("policy", "value"), [("image_size", "clip"), ("box_outside", "keep"), ("leakage", "keep"), ("box_empty", "clip")]
)
def test_a_policy_takes_only_what_can_be_done(policy, value):
    with pytest.raises(ValidationError, match=policy):
        Detection.model_validate({"prepare": {"policy": {policy: value}}})
