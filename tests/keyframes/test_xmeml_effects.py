from __future__ import annotations

from fractions import Fraction

import pytest

from keyframes.xmeml_files import (
    FILE,
    at,
    clip,
    effect,
    key,
    parameter,
    read_items,
    transition,
)

F = Fraction


# Keyframes, and where they lie


def test_keyframes_win_over_the_value_and_count_on_the_axis_of_in(tmp_path):
    scale = parameter("scale", 250, key(100, 50), key(160, 110))
    (one,), _ = read_items(tmp_path, clip(300, 330, first=115, more=effect("basic", scale)))
    assert one.local_start == F(115, 30)
    assert one.animation.keys() == {"scale"}
    # 15 frames after the first key of a rise by 60 over 60 frames, then 30 frames later.
    assert at(one.animation["scale"], one.local_start, one.local_start + 1) == [65, 95]


def test_keys_outside_the_clip_are_kept(tmp_path):
    opacity = parameter("opacity", 100, key(0, 0), key(1000, 100))
    (one,), _ = read_items(tmp_path, clip(0, 30, first=500, more=effect("opacity", opacity)))
    assert [key.time for key in one.animation["opacity"].keys] == [0, F(1000, 30)]
    assert at(one.animation["opacity"], one.local_start) == [50]


def test_keys_of_a_clip_with_its_own_rate_count_in_its_frames(tmp_path):
    rotation = parameter("rotation", 0, key(24, 10), key(48, 20))
    (one,), _ = read_items(
        tmp_path, clip(0, 30, first=24, last=48, rate="<timebase>24</timebase>", more=effect("basic", rotation))
    )
    assert one.local_start == 1
    assert at(one.animation["rotation"], 1, 1.5, 2) == [10, 15, 20]


# Effects


def test_basic_motion_in_full(tmp_path):
    motion = effect(
        "basic",
        parameter("scale", 80),
        parameter("rotation", -12.5),
        parameter("center", (0.25, -0.125)),
        parameter("leftcrop", 1),
        parameter("topcrop", 2),
        parameter("rightcrop", 3),
        parameter("bottomcrop", 4),
    )
    (one,), notes = read_items(tmp_path, clip(more=motion, file=FILE))
    assert {name: at(curve, 5) for name, curve in one.animation.items()} == {
        "scale": [80],
        "rotation": [-12.5],
        "x": [0.25],
        "y": [-0.125],
        "crop_l": [1],
        "crop_t": [2],
        "crop_r": [3],
        "crop_b": [4],
    }
    assert not notes.ignored
    assert not notes.guessed


def test_crop_and_opacity_effects(tmp_path):
    crop = effect("crop", parameter("left", 10), parameter("right", 20), parameter("top", 30), parameter("bottom", 40))
    (one,), _ = read_items(tmp_path, clip(more=crop + effect("opacity", parameter("opacity", 55))))
    assert {name: at(curve, 0) for name, curve in one.animation.items()} == {
        "crop_l": [10],
        "crop_r": [20],
        "crop_t": [30],
        "crop_b": [40],
        "opacity": [55],
    }


@pytest.mark.parametrize(
    ("effect_id", "name", "parameter_id"),
    [("BASIC", None, "Scale"), (None, "Basic Motion", None), ("Motion 7", "basic motion", "scale")],
)
def test_effects_are_known_by_id_or_else_by_name_in_any_case(effect_id, name, parameter_id, tmp_path):
    (one,), _ = read_items(tmp_path, clip(more=effect(effect_id, parameter(parameter_id, 42, name="Scale"), name=name)))
    assert at(one.animation["scale"], 0) == [42]


def test_the_larger_of_two_crops_of_one_side_counts(tmp_path):
    motion = effect("basic", parameter("leftcrop", 30), parameter("rightcrop", None, key(0, 0), key(30, 60)))
    crop = effect("crop", parameter("left", 20), parameter("right", None, key(0, 30), key(30, 0)))
    (one,), notes = read_items(tmp_path, clip(more=motion + crop))
    assert at(one.animation["crop_l"], 0) == [30]
    assert at(one.animation["crop_r"], 0, 1) == [30, 60]
    assert notes.guessed["one side cut twice, by Motion or Crop: the larger counts"] == 2


def test_of_other_parameters_given_twice_the_last_counts(tmp_path):
    (one,), notes = read_items(
        tmp_path, clip(more=effect("basic", parameter("scale", 30)) + effect("basic", parameter("scale", 40)))
    )
    assert at(one.animation["scale"], 0) == [40]
    assert notes.guessed["scale given twice: the last counts"] == 1


@pytest.mark.parametrize("word", ["FALSE", "False", "false"])
def test_disabled_effects_are_ignored_and_counted(word, tmp_path):
    (one,), notes = read_items(tmp_path, clip(more=effect("basic", parameter("scale", 30), enabled=word)))
    assert one.animation == {}
    assert notes.ignored["disabled effect basic"] == 1


def test_defaults_are_no_animation_but_equal_keys_elsewhere_are(tmp_path):
    motion = effect(
        "basic", parameter("scale", 30, key(0, 100), key(9, 100)), parameter("rotation", 0, key(0, 5), key(9, 5))
    )
    (one,), _ = read_items(tmp_path, clip(more=motion))
    assert at(one.animation["rotation"], 0) == [5]
    assert "scale" not in one.animation


def test_whatever_has_no_place_is_counted_unless_it_is_neutral(tmp_path):
    motion = effect(
        "basic",
        parameter("centerOffset", (0, 0)),
        parameter("antiflicker", "0.0"),
        parameter("anchor", (0.5, 0)),
        parameter("skew", 0, key(0, 0), key(5, 7)),
    )
    more = motion + effect("Gaussian Blur", parameter("radius", 0)) + "<compositemode>multiply</compositemode>"
    _, notes = read_items(tmp_path, clip(more=more, file=FILE), transition(30, 40, "end"))
    assert notes.ignored == {
        "parameter anchor": 1,
        "parameter skew": 1,
        "effect Gaussian Blur": 1,
        "composite mode multiply": 1,
        "transition Cross Dissolve": 1,
    }


# Interpolation


def test_hold_and_linear_keys(tmp_path):
    opacity = parameter("opacity", 1, key(0, 10, "Hold"), key(30, 20, "linear"), key(60, 40))
    (one,), _ = read_items(tmp_path, clip(0, 60, more=effect("opacity", opacity)))
    assert at(one.animation["opacity"], 0.5, 0.999, 1, 1.5) == [10, 10, 20, 30]


def test_bezier_handles_are_frames_and_values_from_the_key(tmp_path):
    # Handles of half the segment, flat at both ends: an even ease with its middle in the middle.
    keys = key(0, 100, "FCPCurve", outbez=(15, 0)), key(30, 200, "FCPCurve", inbez=(-15, 0))
    (one,), notes = read_items(tmp_path, clip(more=effect("basic", parameter("scale", 1, *keys))))
    first, last = one.animation["scale"].keys
    assert (first.ease, first.reach_out, last.reach_in) == ("bezier", (0.5, 0), (-0.5, 0))
    low, middle, high = at(one.animation["scale"], 0.25, 0.5, 0.75)
    assert middle == pytest.approx(150)
    assert low < 125 < 175 < high
    assert low + high == pytest.approx(300)
    assert notes.guessed["unit of a Bezier handle"] == 2


def test_the_handles_of_a_point_bend_its_path(tmp_path):
    keys = key(0, (0, 0), "bezier", outbez=(0, 0.4)), key(30, (0.3, 0), "bezier", inbez=(0, 0.4))
    (one,), _ = read_items(tmp_path, clip(more=effect("basic", parameter("center", (0, 0), *keys))))
    # x: 0, 0, 0.3, 0.3 and y: 0, 0.4, 0.4, 0 at s = 1/2.
    assert at(one.animation["x"], 0.5) == pytest.approx([0.15])
    assert at(one.animation["y"], 0.5) == pytest.approx([0.3])


def test_a_path_that_is_bent_at_one_end_only(tmp_path):
    keys = key(0, (0, 0), "linear"), key(30, (0.9, 0), "bezier", inbez=(-0.6, 0))
    (one,), _ = read_items(tmp_path, clip(more=effect("basic", parameter("center", (0, 0), *keys))))
    # x: 0, 0, 0.3, 0.9 at s = 1/2.
    assert at(one.animation["x"], 0.5) == pytest.approx([0.225])


def test_a_curve_without_handles_is_straight(tmp_path):
    scale = parameter("scale", 1, key(0, 50, "FCPCurve"), key(30, 80, "FCPCurve"))
    (one,), notes = read_items(tmp_path, clip(more=effect("basic", scale), file=FILE))
    assert [key.ease for key in one.animation["scale"].keys] == ["linear", "linear"]
    assert not notes.guessed


def test_unknown_interpolation_is_linear_and_acceleration_is_counted(tmp_path):
    scale = parameter("scale", 1, key(0, 50, "wobble", more="<outscale>0.5</outscale>"), key(30, 80))
    (one,), notes = read_items(tmp_path, clip(more=effect("basic", scale)))
    assert at(one.animation["scale"], 0.5) == [65]
    assert notes.guessed["interpolation wobble, taken as linear"] == 1
    assert notes.ignored["acceleration of a keyframe (inscale, outscale)"] == 1
