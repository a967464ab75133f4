from __future__ import annotations

from fractions import Fraction

import pytest

from keyframes.xmeml_files import (
    TICKS,
    at,
    clip,
    edges,
    effect,
    key,
    parameter,
    rate,
    read_items,
    remap,
    ticks,
    transition,
)

F = Fraction


# Edges of -1


@pytest.mark.parametrize(
    ("alignment", "cut_ticks", "cut"),
    [
        ("center", None, 112),  # (100 + 125) / 2 = 112.5, rounded down
        ("center", 5 * TICKS // 30, 105),
        ("center", 99 * TICKS, 112),  # beyond the transition
        ("start", None, 100),
        ("start-black", None, 100),
        ("end", None, 125),
        ("end-black", None, 125),
    ],
)
def test_a_transition_decides_both_edges_beside_it(alignment, cut_ticks, cut, tmp_path):
    # in and out span the transition: 90..125 shows 10..45, and 100..200 shows 60..160.
    items = clip(90, -1, first=10, last=45), transition(100, 125, alignment, cut_ticks), clip(-1, 200, 60, 160)
    (one, two), notes = read_items(tmp_path, *items)
    assert edges([one, two]) == [(90, cut, 10), (cut, 200, 60 + cut - 100)]
    assert one.media_times == ((0, F(10, 30)), (F(cut - 90, 30), F(10 + cut - 90, 30)))
    assert two.media_times[0] == (0, F(60 + cut - 100, 30))
    assert not notes.problems


def test_transitions_on_both_sides_and_a_keyed_clip_between(tmp_path):
    opacity = effect("opacity", parameter("opacity", 100, key(50, 0), key(150, 100)))
    items = transition(0, 10, "start-black"), clip(-1, -1, 50, 150, more=opacity), transition(90, 100, "end-black")
    (one,), _ = read_items(tmp_path, *items)
    assert edges([one]) == [(0, 100, 50)]
    assert at(one.animation["opacity"], one.local_start + F(50, 30)) == pytest.approx([50])


def test_without_a_transition_in_and_out_give_the_missing_edge(tmp_path):
    clips, notes = read_items(tmp_path, clip(10, -1, 5, 25), clip(-1, 80, 0, 20), clip(-1, -1, 7, 17))
    assert edges(clips) == [(10, 30, 5), (60, 80, 0), (80, 90, 7)]
    assert notes.guessed["edge of -1 without a transition"] == 3


def test_without_a_transition_the_clip_before_bounds_the_start(tmp_path):
    clips, _ = read_items(tmp_path, clip(0, 50), clip(-1, 60, 100, 130))  # 30 frames before 60 would be 30
    assert edges(clips) == [(0, 50, 0), (50, 60, 120)]


def test_with_nothing_else_the_next_clip_gives_the_end(tmp_path):
    clips, notes = read_items(tmp_path, clip(10, -1, 5), clip(80, 90), clip(90, -1, 5))
    assert edges(clips) == [(10, 80, 5), (80, 90, 0)]
    assert len(notes.problems) == 1
    assert "end is -1, and neither a transition nor" in notes.problems[0]


def test_a_broken_transition_leaves_its_neighbours_to_in_and_out(tmp_path):
    clips, notes = read_items(tmp_path, clip(0, -1, 0, 20), transition("x", 30), clip(25, 40))
    assert edges(clips)[0] == (0, 20, 0)
    assert notes.guessed["transition with impossible times: none"] == 1


# Rates and ticks


@pytest.mark.parametrize(
    ("timebase", "ntsc", "expected"),
    [
        (30, "TRUE", F(30000, 1001)),
        (60, "TRUE", F(60000, 1001)),
        (24, "TRUE", F(24000, 1001)),
        (30, "FALSE", 30),
        (25, None, 25),
        ("24.0", "True", F(24000, 1001)),
        ("29.97", "TRUE", F(2997, 100)),
    ],
)
def test_rates_are_exact(timebase, ntsc, expected, tmp_path):
    clips, _ = read_items(tmp_path, clip(7, 11), own_rate=rate(timebase, ntsc))
    assert (clips[0].start, clips[0].end) == (7 / F(expected), 11 / F(expected))


def test_a_clip_with_its_own_rate(tmp_path):
    own = "<timebase>24</timebase><ntsc>TRUE</ntsc>"
    (one,), _ = read_items(tmp_path, clip(30, 90, first=48, last=96, rate=own))
    assert (one.start, one.end, one.local_start) == (1, 3, F(48 * 1001, 24000))
    assert one.media_times == ((0, F(48 * 1001, 24000)), (2, 2 + F(48 * 1001, 24000)))


def test_a_truncated_sequence_rate_is_found_by_ticks(tmp_path):
    # 59.90 frames a second, written as 59; a still at one hour, as Premiere has it.
    true = F(TICKS, 4_240_667_779)
    clips = [
        clip(0, 599, 0, **ticks(0, 599 / true)),
        clip(599, 700, 215_640, **ticks(215_640 / true, 215_741 / true)),
    ]
    (one, two), notes = read_items(tmp_path, *clips, own_rate=rate(59, "FALSE"), duration=1198)
    assert one.end == 599 / true
    assert two.local_start == 215_640 / true
    assert two.media_times[0][1] == 215_640 / true
    assert abs(two.local_start - 3600) < F(1, 100)
    assert notes.guessed["frame rate of a sequence, by its clips' ticks"] == 1


@pytest.mark.parametrize("true", [58, 61, 75, 59.03], ids=["slower", "faster", "speed", "within a frame a clip"])
def test_ticks_that_cutting_the_rate_does_not_explain_change_nothing(true, tmp_path):
    (one,), notes = read_items(tmp_path, clip(0, 590, **ticks(0, 590 / F(true))), own_rate=rate(59, "FALSE"))
    assert one.end == 10
    assert one.media_times == ((0, 0), (10, 10))
    assert "frame rate of a sequence, by its clips' ticks" not in notes.guessed


def test_a_rate_with_ntsc_is_exact_whatever_ticks_say(tmp_path):
    clips, notes = read_items(tmp_path, clip(0, 30_000, **ticks(0, 1000)), own_rate=rate(30, "TRUE"))
    assert clips[0].end == 1001
    assert notes.guessed["ticks that contradict in and out, left aside"] == 1


def test_a_clips_own_truncated_rate_is_found_by_its_ticks(tmp_path):
    own, true = "<timebase>52</timebase>", F(5295, 100)
    scale = effect("basic", parameter("scale", 1, key(5295, 50), key(5295 * 2, 80)))
    numbers = ticks(100, 120)
    (one,), notes = read_items(tmp_path, clip(0, 600, 5295, 6354, rate=own, more=scale, **numbers))
    assert one.media_times == ((0, 100), (20, 120))
    assert notes.guessed["clip's frame rate, by its ticks"] == 1
    assert one.local_start == 5295 / (6354 / F(120)) == 100
    assert at(one.animation["scale"], one.local_start) == [50]
    assert abs(6354 / F(120) - true) < F(1, 1000)


def test_exact_ticks_refine_the_time_of_in(tmp_path):
    half = F(1, 60)  # in 10 is really 10.5
    (one,), _ = read_items(tmp_path, clip(0, 30, 10, **ticks(F(10, 30) + half, F(40, 30) + half)))
    assert one.media_times[0][1] == F(21, 60)
    assert one.local_start == F(10, 30)


@pytest.mark.parametrize("number", ["-1", "x", "", "1e9", "9" * 30, "٣"])
def test_damaged_ticks_are_left_aside(number, tmp_path):
    (one,), notes = read_items(tmp_path, clip(0, 30, 10, pproTicksIn=number, pproTicksOut=number))
    assert one.media_times == ((0, F(10, 30)), (1, F(40, 30)))
    assert not notes.problems


# Speed


def test_constant_speed_counts_in_and_out_as_retimed(tmp_path):
    scale = effect("basic", parameter("scale", 1, key(30, 10), key(60, 40)))
    (one,), _ = read_items(tmp_path, clip(0, 30, 30, 60, more=remap(200) + scale))
    assert one.media_times == ((0, 2), (1, 4))
    assert one.local_start == 1
    assert at(one.animation["scale"], 1, 1.5) == [10, 25]


def test_constant_speed_with_in_and_out_of_the_media(tmp_path):
    (one,), notes = read_items(tmp_path, clip(0, 30, 90, 150, more=remap(200)))
    assert one.media_times == ((0, 3), (1, 5))
    assert notes.guessed["in and out of a retimed clip, taken as media time"] == 1


@pytest.mark.parametrize("effect", [remap(50, "TRUE"), remap(-50), remap(-50, "TRUE")])
def test_reverse_runs_from_the_end_of_the_retimed_clip(effect, tmp_path):
    # 300 frames at half speed are 5 s of media; a second in, 0.5 s of them are gone.
    (one,), _ = read_items(tmp_path, clip(0, 30, 30, 60, duration=300, more=effect))
    assert one.media_times == ((0, F(9, 2)), (1, 4))


def test_speed_zero_is_a_still(tmp_path):
    (one,), _ = read_items(tmp_path, clip(0, 30, 60, 90, more=remap(0)))
    assert one.media_times == ((0, 2), (1, 2))


def test_a_speed_graph_with_the_clip_over_its_middle(tmp_path):
    graph = (0, 0), (30, 60), (60, 60), (90, 30)  # double, a still, backwards
    (one,), _ = read_items(tmp_path, clip(0, 60, 15, 75, more=remap(100, None, *graph, variable=1)))
    assert one.media_times == ((0, 1), (F(1, 2), 2), (F(3, 2), 2), (2, F(3, 2)))


def test_beyond_its_ends_a_speed_graph_goes_on(tmp_path):
    (one,), _ = read_items(tmp_path, clip(0, 60, 0, 60, more=remap(100, None, (15, 30), (45, 60))))
    assert one.media_times == ((0, F(1, 2)), (F(1, 2), 1), (F(3, 2), 2), (2, F(5, 2)))


def test_the_graph_that_premiere_writes_for_a_reversed_clip(tmp_path):
    graph = (0, 37127), (15299, 21828), (15305, 21822), (37127, 1)
    (one,), _ = read_items(tmp_path, clip(0, 100, 100, 200, more=remap(100, "TRUE", *graph)))
    assert one.media_times == ((0, F(37027, 30)), (F(100, 30), F(36927, 30)))


def test_a_transition_takes_its_part_of_a_retimed_clip(tmp_path):
    items = transition(0, 30, "end"), clip(-1, 60, 0, 60, more=remap(200))
    (one,), _ = read_items(tmp_path, *items)
    assert one.media_times == ((0, 2), (1, 4))


def test_media_runs_at_its_own_pace_whatever_out_says(tmp_path):
    (one,), notes = read_items(tmp_path, clip(0, 30, 0, 90))
    assert one.media_times == ((0, 0), (1, 1))
    assert notes.guessed["in and out longer or shorter than start and end: media at its own pace"] == 1
