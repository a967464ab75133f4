"""Layout of the picture, its keyframes, and the speed."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyframes.fcpxml_files import (
    A,
    at,
    document,
    fcpxml,
    key,
    keyed,
    only,
    project,
    spine,
)


def test_position_is_in_percent_of_the_height_and_counts_up(tmp_path):
    clip = only(
        spine(
            tmp_path, f'{A}><adjust-transform position="-17.7777778 7.5" rotation="30" scale="1.2 1.2"/></asset-clip>'
        )
    )
    # 17.78 percent of 1080 are 192 pixels, a tenth of the width.
    assert at(clip, "x", 10) == pytest.approx([-0.1])
    assert at(clip, "y", 10) == [-0.075]
    assert at(clip, "rotation", 10) == [-30]
    assert at(clip, "scale", 10) == [120]
    assert not any(curve.animated for curve in clip.animation.values())


def test_what_a_transform_cannot_keep_is_noted(tmp_path):
    transform = '<adjust-transform scale="-1 2" anchor="0 5"/>'
    others = '<adjust-conform type="none"/><adjust-corners/><filter-video ref="e"><data>x</data></filter-video>'
    read_document = spine(tmp_path, f"{A}>{others}{transform}</asset-clip>")
    assert at(only(read_document), "scale", 10) == [150]
    assert set(only(read_document).animation) == {"scale"}
    assert read_document.notes.guessed == {"scale that differs in x and y, its mean taken": 1}
    assert read_document.notes.ignored == {
        "anchor": 1,
        "adjust-conform none": 1,
        "adjust-corners": 1,
        "filter-video": 1,
    }


def test_adjustments_switched_off_or_at_their_default_are_none(tmp_path):
    adjusts = (
        '<adjust-transform enabled="0" scale="2 2"/><adjust-blend amount="1.0"/><adjust-conform type="fit"/>'
        '<adjust-transform position="0 0"><param name="scale"><keyframeAnimation><keyframe time="0s" value="1 1"/>'
        '<keyframe time="9s" value="1 1"/></keyframeAnimation></param></adjust-transform>'
    )
    read_document = spine(tmp_path, f"{A}>{adjusts}</asset-clip>")
    assert only(read_document).animation == {}
    assert not read_document.notes.ignored


def test_a_frame_of_unknown_size_is_taken_as_16_9(tmp_path):
    text = fcpxml(
        project(f'{A}><adjust-transform position="16 0"/></asset-clip>', 'format="f"'),
        '<format id="f" frameDuration="1/25s"/>',
    )
    read_document = document(tmp_path, text)
    assert at(only(read_document), "x", 0) == pytest.approx([0.09])
    assert read_document.notes.guessed == {"frame of unknown size taken as 16:9": 1}


def test_a_trim_is_in_percent_of_the_height_of_the_media(tmp_path):
    rectangles = '<crop-rect left="90"/><trim-rect left="16" right="8" top="5" bottom="2.5"/>'
    crop = f'<adjust-crop mode="trim">{rectangles}</adjust-crop>'
    clip = only(spine(tmp_path, f"{A}>{crop}</asset-clip>"))  # 16:9
    found = [at(clip, f"crop_{side}", 0)[0] for side in "lrtb"]
    assert found == pytest.approx([9, 4.5, 5, 2.5])
    square = only(spine(tmp_path, f'<video ref="still" duration="4s">{crop}</video>'))
    assert [at(square, f"crop_{side}", 0)[0] for side in "lrtb"] == [16, 8, 5, 2.5]


def test_crop_and_pan_keep_their_first_rectangle(tmp_path):
    for mode, lost in (("crop", "enlargement"), ("pan", "movement")):
        rectangles = f'<{mode}-rect top="5"/><{mode}-rect top="25"/>'
        read_document = spine(tmp_path, f'{A}><adjust-crop mode="{mode}">{rectangles}</adjust-crop></asset-clip>')
        assert at(only(read_document), "crop_t", 0, 99) == [5, 5]
        assert read_document.notes.ignored == {f"adjust-crop {mode}: {lost}": 1}
    missing = spine(
        tmp_path,
        '<asset-clip ref="no" duration="1s"><adjust-crop mode="trim"><trim-rect left="16"/></adjust-crop></asset-clip>',
    )
    assert at(only(missing), "crop_l", 0) == pytest.approx([9])
    assert missing.notes.guessed["crop of media of unknown size, taken for the sequence's"] == 1


def test_keyframes_count_on_the_local_axis(tmp_path):
    params = (
        keyed("scale", key("12s", "1 1"), key("14s", "2 2"))
        + keyed("position", key("27/2s", "16 -50"), key("9s", "0 0"))  # in any order
        + keyed("Rotation", key("10s", "0"), key("12s", "-90"))
    )
    top = keyed("top", key("10s", "0"), key("12s", "50"))
    crop = f'<adjust-crop mode="trim"><trim-rect>{top}</trim-rect></adjust-crop>'
    blend = f"<adjust-blend>{keyed('amount', key('10s', '0'), key('12s', '1'))}</adjust-blend>"
    read_document = spine(tmp_path, f"{A}>{crop}<adjust-transform>{params}</adjust-transform>{blend}</asset-clip>")
    clip = only(read_document)
    assert clip.local_start == 10
    assert at(clip, "scale", 11, 12, 13, 15) == [100, 100, 150, 200]
    assert at(clip, "x", 9, 11.25, 13.5) == pytest.approx([0, 0.045, 0.09])
    assert at(clip, "y", 9, 11.25, 13.5) == pytest.approx([0, 0.25, 0.5])
    assert at(clip, "rotation", 11) == [45]
    assert at(clip, "crop_t", 11) == [25]
    assert at(clip, "opacity", 11) == [50]
    assert not read_document.notes.guessed


def test_x_and_y_may_be_keyed_apart(tmp_path):
    parts = (
        f'<param name="position">{keyed("X", key("10s", "0"), key("14s", "16"))}'
        f"{keyed('Y', key('12s', '0'), key('14s', '-10'))}</param>"
        f'<param name="scale"><param name="X" value="2"/>{keyed("Y", key("10s", "2"), key("14s", "3"))}</param>'
    )
    read_document = spine(tmp_path, f'{A}><adjust-transform scale="1 1">{parts}</adjust-transform></asset-clip>')
    clip = only(read_document)
    assert at(clip, "x", 10, 12, 14) == pytest.approx([0, 0.045, 0.09])
    assert at(clip, "y", 10, 12, 13, 14) == pytest.approx([0, 0, 0.05, 0.1])
    assert at(clip, "scale", 10, 14) == [200, 250]
    assert read_document.notes.guessed == {
        "x and y keyed at different times": 1,
        "scale that differs in x and y, its mean taken": 1,
    }


def test_a_parameter_may_be_still(tmp_path):
    clip = only(
        spine(tmp_path, f'{A}><adjust-transform><param name="scale" value="1.5 1.5"/></adjust-transform></asset-clip>')
    )
    assert at(clip, "scale", 10) == [150]


def eased(tmp_path: Path, first: str, second: str) -> tuple[list[float], int]:
    """Opacity at the quarters of a rise from 0 to 100 over 4 seconds, and the number of guesses."""
    keys = keyed("amount", key("10s", "0", first), key("14s", "1", second))
    read_document = spine(tmp_path, f"{A}><adjust-blend>{keys}</adjust-blend></asset-clip>")
    return at(only(read_document), "opacity", 11, 12, 13), sum(read_document.notes.guessed.values())


def test_eased_keyframes_get_handles_of_a_third(tmp_path):
    assert eased(tmp_path, 'interp="linear"', "") == ([25, 50, 75], 0)
    # With handles of a third, time runs evenly, s = t / 4. Flat at both: 3 s^2 - 2 s^3. Flat at the beginning only,
    # the other along the line, at 2/3: 3 (1-s) s^2 2/3 + s^3 = 2 s^2 - s^3. Flat at the end only: its mirror image.
    both = [100 * (3 * s**2 - 2 * s**3) for s in (0.25, 0.5, 0.75)]
    slow_start = [100 * (2 * s**2 - s**3) for s in (0.25, 0.5, 0.75)]
    slow_end = [100 - value for value in reversed(slow_start)]
    for first, second, expected in (
        ("ease", "ease", both),
        ("easeOut", "linear", slow_start),
        ("linear", "easeIn", slow_end),
    ):
        found, guesses = eased(tmp_path, f'interp="{first}"', f'interp="{second}"')
        assert found == pytest.approx(expected, abs=1e-6)
        assert guesses == (first != "linear") + (second != "linear")
    # An ease on the outer side of a key changes nothing.
    assert eased(tmp_path, 'interp="easeIn"', 'interp="easeOut"')[0] == pytest.approx([25, 50, 75], abs=1e-6)


def test_smooth_keyframes_are_corners_and_counted_where_that_matters(tmp_path):
    for curve, guesses in (('curve="smooth"', 1), ("", 1), ('curve="linear"', 0)):
        keys = keyed("amount", key("10s", "0"), key("11s", "1", curve), key("14s", "0"))
        read_document = spine(tmp_path, f"{A}><adjust-blend>{keys}</adjust-blend></asset-clip>")
        assert at(only(read_document), "opacity", 10.5, 12.5) == [50, 50]
        assert sum(read_document.notes.guessed.values()) == guesses


def test_fades_of_the_opacity(tmp_path):
    fades = '<fadeIn type="linear" duration="1s"/><fadeOut type="easeOut" duration="2s"/>'
    text = f'{A}><adjust-blend amount="0.5"><param name="amount">{fades}</param></adjust-blend></asset-clip>'
    read_document = spine(tmp_path, text)  # local 10..14
    assert at(only(read_document), "opacity", 10, 10.5, 11, 12, 13, 14) == [0, 25, 50, 50, 25, 0]
    assert read_document.notes.guessed == {"curved fade drawn straight": 1}
    longer = text.replace('duration="1s"', 'duration="3s"')
    assert at(only(spine(tmp_path, longer)), "opacity", 10, 13, 13.5, 14) == [0, 50, 25, 0]
    beside = text.replace("</param>", f"</param>{keyed('amount', key('10s', '0'), key('14s', '1'))}")
    beside = beside.replace(f'<param name="amount">{fades}</param>', "").replace(
        "<keyframeAnimation>", f"{fades}<keyframeAnimation>"
    )
    read_document = spine(tmp_path, beside)
    assert at(only(read_document), "opacity", 12) == [50]
    assert read_document.notes.ignored == {"fade beside keyframes": 2}


def test_a_time_map_leads_from_the_local_axis_to_the_media(tmp_path):
    # The axis shows 20..40 for 3600..3610 of the media: half speed. The clip begins at local 24, so 2 seconds in.
    points = '<timept time="20s" value="3600s" interp="smooth2"/><timept time="40s" value="3610s" interp="smooth2"/>'
    keys = keyed("scale", key("24s", "1 1"), key("28s", "2 2"))
    text = (
        f'<asset-clip ref="tc" start="24s" duration="4s"><timeMap>{points}</timeMap>'
        f"<adjust-transform>{keys}</adjust-transform></asset-clip>"
    )
    read_document = spine(tmp_path, text)
    clip = only(read_document)
    assert clip.media_times == ((0, 2), (4, 4))
    assert at(clip, "scale", 26) == [150]  # keys stay on the local axis
    assert not read_document.notes.guessed
    # The same in a clip, whose video begins at 3600 of the original axis.
    inner = text.replace('<asset-clip ref="tc"', "<clip").replace(
        "</asset-clip>", '<video ref="tc" offset="3600s" start="3601s" duration="9s"/></clip>'
    )
    assert only(spine(tmp_path, inner)).media_times == ((0, 3), (4, 5))


def test_ramps_freezes_and_reverse(tmp_path):
    def times(*points: tuple[int, int]) -> tuple:
        inner = "".join(f'<timept time="{time}s" value="{value}s"/>' for time, value in points)
        read_document = spine(tmp_path, f"{A}><timeMap>{inner}</timeMap></asset-clip>")
        assert sum(read_document.notes.guessed.values()) == (len(points) > 2)
        return only(read_document).media_times

    assert times((0, 0), (11, 11), (12, 11), (20, 27)) == ((0, 10), (1, 11), (2, 11), (4, 15))
    assert times((10, 30), (14, 22)) == ((0, 30), (4, 22))
    assert times((10, 7)) == ((0, 7), (4, 7))
    assert times() == ((0, 10), (4, 14))


def test_conformed_rates_are_noted(tmp_path):
    for attributes, guesses in (('srcFrameRate="23.98"', 1), ('scaleEnabled="0" srcFrameRate="29.97"', 0)):
        read_document = spine(tmp_path, f"{A}><conform-rate {attributes}/></asset-clip>")
        assert sum(read_document.notes.guessed.values()) == guesses
