"""Boxes become tracks: one for each road user, through occlusions, gaps, odd frame rates, and in any order of rows."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data import real
from tests.unit.cctv_scenes import BICYCLE, CAR, MOVING, PERSON, SECOND, TRUCK, frames, only, path, together, walker
from tilery.workloads.cctv.detections import Detections
from tilery.workloads.cctv.frames import Frames, Looked
from tilery.workloads.cctv.tracker import track
from tilery.workloads.cctv.tracks import State, Tracks, dense

CROWD_FRAMES = frames(80)
CROWD = together(
    walker(CROWD_FRAMES, (100, 200), (40, 5), noise=2, seed=1),
    walker(CROWD_FRAMES, (500, 210), (-45, 0), noise=2, seed=2),
    walker(CROWD_FRAMES, (300, 100), (5, 30), noise=2, seed=3, hidden=[(3, 4.2)]),
    walker(CROWD_FRAMES, (250, 300), (20, -20), noise=2, seed=4, score=0.4),
    walker(CROWD_FRAMES, (50, 50), (0, 0), moving=0.0),
)


def bits(tracks: Tracks) -> list[bytes]:
    return [getattr(tracks, column.name).tobytes() for column in fields(Tracks)]


def ids(tracks: Tracks) -> list[int]:
    return sorted(set(tracks.id.tolist()))


def test_two_who_pass_each_other_keep_their_ids() -> None:
    seen = frames(100)
    found = together(walker(seen, (100, 200), (40, 0), noise=2), walker(seen, (500, 205), (-40, 0), noise=2, seed=5))
    tracks = track(seen, found, confident=0.5)
    assert ids(tracks) == [1, 2]
    for _, rows in tracks.by_track():
        assert (np.diff(tracks.foot[rows, 0]) > 0).all() or (np.diff(tracks.foot[rows, 0]) < 0).all()


def test_an_occlusion_is_bridged_along_the_way() -> None:
    seen = frames(100)
    tracks = track(seen, walker(seen, (100, 200), (40, 10), noise=1, hidden=[(4, 5.3)]), confident=0.5)
    assert ids(tracks) == [1]
    bridged = tracks.state == State.BRIDGED
    assert bridged.sum() == 13
    truth = np.array([100, 240]) + tracks.time_us[:, None] * 1e-6 * np.array([40, 10])
    assert np.abs(tracks.foot - truth).max() < 5
    assert (tracks.score[bridged] == 0).all()


def test_smoothing_brings_boxes_nearer_to_the_truth_than_they_were_seen() -> None:
    seen = frames(100)
    found = walker(seen, (100, 200), (40, 0), noise=4)
    tracks = track(seen, found, confident=0.5)
    truth = walker(seen, (100, 200), (40, 0)).box
    assert np.abs(tracks.box - truth).mean() < 0.4 * np.abs(found.box - truth).mean()


def test_doubtful_boxes_continue_a_track_but_begin_none() -> None:
    seen = frames(60)
    sure = walker(seen, (100, 200), (40, 0), during=(0, 2))
    doubtful = walker(seen, (100, 200), (40, 0), during=(2.05, 6), score=0.35)
    alone = walker(seen, (100, 400), (40, 0), score=0.35)
    believed = walker(seen, (100, 600), (40, 0), score=0.55)
    tracks = track(seen, together(sure, doubtful, alone, believed), confident=0.5)
    assert ids(tracks) == [1]
    assert len(tracks) == 60


def test_a_track_has_also_what_was_seen_before_it_was_sure() -> None:
    seen = frames(60)
    far = walker(seen, (100, 200), (40, 0), during=(0, 2), score=0.4)
    near = walker(seen, (100, 200), (40, 0), during=(2.05, 6))
    tracks = track(seen, together(far, near), confident=0.5)
    assert ids(tracks) == [1]
    assert tracks.frame[0] == 0


def test_what_flashes_up_is_not_confirmed() -> None:
    seen = frames(60)
    assert not len(track(seen, walker(seen, (100, 200), (40, 0), during=(1, 1.15)), confident=0.5))


def test_ids_start_anew_after_a_gap_between_clips_and_go_on_over_a_short_one() -> None:
    def over(gap_s: float) -> Tracks:
        first, second = frames(30), frames(30, start_us=3 * SECOND + round(gap_s * SECOND))
        both = Frames(*(np.concatenate([getattr(first, f.name), getattr(second, f.name)]) for f in fields(Frames)))
        return track(both, walker(both, (100, 200), (20, 0)), confident=0.5, gap_us=2 * SECOND)

    assert ids(over(1.0)) == [1]
    assert ids(over(2.5)) == [1, 2]


def test_a_camera_of_one_picture_in_three_seconds_has_no_gaps() -> None:
    seen = frames(40, fps=1 / 3)
    assert ids(track(seen, walker(seen, (100, 200), (3, 0)), confident=0.5)) == [1]


def test_a_missing_span_ends_tracks() -> None:
    seen = frames(60)
    found = walker(seen, (100, 200), (20, 0), hidden=[(2.5, 3.0)])
    tracks = track(seen, found, confident=0.5, missing=[(2_500_000, 3_000_000)])
    assert ids(tracks) == [1, 2]
    assert not ((tracks.time_us >= 2_500_000) & (tracks.time_us < 3_000_000)).any()


def test_frames_that_come_irregularly_do_not_break_a_track() -> None:
    steps = np.random.default_rng(4).uniform(0.02, 0.5, 60)
    seen = replace(frames(60), time_us=(np.cumsum(steps) * SECOND).astype(np.int64))
    tracks = track(seen, walker(seen, (100, 200), (60, 0), noise=2), confident=0.5)
    assert ids(tracks) == [1]
    assert tracks.velocity[5:-5, 0] == pytest.approx(60, abs=12)


def test_in_a_still_frame_the_boxes_of_the_last_look_stand() -> None:
    seen = frames(30)
    found = walker(seen, (100, 200), (20, 0))
    looked = seen.looked.copy()
    looked[10:14] = Looked.STILL
    still = only(found, ~np.isin(found.time_us, seen.time_us[10:14]))
    tracks = track(replace(seen, looked=looked), still, confident=0.5)
    assert ids(tracks) == [1]
    assert (tracks.state == State.SEEN).all()
    assert len(tracks) == 30


def test_a_drone_sees_a_walker_walk_and_a_parked_car_stay() -> None:
    seen = frames(60)
    shift = np.stack([np.arange(60) * 6.0, np.arange(60) * -3.0], axis=1)
    to_reference = seen.to_reference.copy()
    to_reference[:, :2, 2] = shift
    drone = replace(seen, to_reference=to_reference)
    person = walker(seen, (300, 300), (20, 0), noise=1)
    car = walker(seen, (500, 300), (0, 0), size=(80, 50), label=CAR, moving=np.nan, noise=1)
    found = together(*(replace(one, box=one.box - np.tile(shift, 2).astype(np.float32)) for one in (person, car)))
    tracks = track(drone, found, confident=0.5)
    assert ids(tracks) == [1]
    assert tracks.label[0] == PERSON
    assert tracks.foot[-1] - tracks.foot[0] == pytest.approx([20 * 5.9, 0], abs=6)
    assert tracks.box[0] - tracks.box[-1] == pytest.approx(np.tile(shift[-1] - [118, 0], 2), abs=6)


def test_a_frame_of_a_drone_that_could_not_be_placed_is_bridged() -> None:
    seen = frames(30)
    to_reference = seen.to_reference.copy()
    to_reference[10:13] = np.nan
    tracks = track(replace(seen, to_reference=to_reference), walker(seen, (100, 200), (20, 0)), confident=0.5)
    assert ids(tracks) == [1]
    assert len(tracks) == 27
    assert np.isfinite(tracks.foot).all()


def test_ghosts_and_parked_cars_go_and_a_car_that_stops_stays_one() -> None:
    seen = frames(200)
    ghost = walker(seen, (600, 100), (0, 0), moving=0.0, noise=1)
    parked = walker(seen, (700, 400), (0, 0), size=(80, 50), label=CAR, moving=0.0, noise=1)
    arriving = walker(seen, (100, 300), (60, 0), size=(80, 50), label=CAR, during=(0, 5))
    waiting = walker(seen, (400, 300), (0, 0), size=(80, 50), label=CAR, during=(5.05, 15), moving=0.0, noise=1)
    leaving = walker(seen, (400 - 15 * 60, 300), (60, 0), size=(80, 50), label=CAR, during=(15.05, 20))
    found = together(ghost, parked, arriving, waiting, leaving)
    assert len(ids(track(seen, found, confident=0.5))) == 1
    assert len(ids(track(seen, found, confident=0.5, gate=False))) == 3


def test_one_who_waves_where_he_stands_is_there_and_a_waving_bush_is_not() -> None:
    seen = frames(60)
    waving = walker(seen, (100, 300), (0, 0), moving=0.3, noise=1)
    bush = walker(seen, (400, 300), (0, 0), moving=0.6, noise=1, label=MOVING)
    engine_runs = walker(seen, (600, 300), (0, 0), size=(80, 50), moving=0.1, noise=1, label=CAR)
    tracks = track(seen, together(waving, bush, engine_runs), confident=0.5)
    assert set(tracks.label) == {PERSON}


def test_a_box_within_a_box_and_a_rider_are_one_road_user() -> None:
    seen = frames(60)
    whole, torso = walker(seen, (100, 200), (40, 0)), walker(seen, (100, 180), (40, 0), size=(26, 30), during=(0.5, 5))
    assert ids(track(seen, together(whole, torso), confident=0.5)) == [1]
    rider = walker(seen, (100, 200), (80, 0))
    bicycle = walker(seen, (100, 225), (80, 0), size=(60, 40), label=BICYCLE)
    ridden = track(seen, together(rider, bicycle), confident=0.5)
    assert ids(ridden) == [1]
    assert set(ridden.label) == {BICYCLE}


def test_a_bicycle_that_flickers_on_a_walker_does_not_take_the_walker_away() -> None:
    seen = frames(100)
    flicker = walker(seen, (100, 225), (40, 0), size=(60, 40), label=BICYCLE, during=(3, 4.5))
    tracks = track(seen, together(walker(seen, (100, 200), (40, 0)), flicker), confident=0.5)
    assert ids(tracks) == [1]
    assert set(tracks.label) == {PERSON}


def test_a_driver_is_part_of_the_car_and_a_walker_before_it_is_not() -> None:
    seen = frames(60)
    car = walker(seen, (100, 300), (90, 0), size=(160, 100), label=CAR)
    driver = walker(seen, (110, 285), (90, 0), size=(25, 30))
    assert set(track(seen, together(car, driver), confident=0.5).label) == {CAR}
    bus = walker(seen, (350, 300), (-40, 0), size=(400, 200), label=CAR)
    passing = walker(seen, (160, 340), (45, 0))
    assert len(ids(track(seen, together(bus, passing), confident=0.5))) == 2


def test_a_person_who_vanishes_where_a_car_appears_is_not_the_car() -> None:
    seen = frames(60)
    person = walker(seen, (100, 200), (40, 0), size=(60, 60), during=(0, 3))
    car = walker(seen, (100, 200), (40, 0), size=(60, 60), during=(3.05, 6), label=CAR)
    tracks = track(seen, together(person, car), confident=0.5)
    assert [set(tracks.label[rows]) for _, rows in tracks.by_track()] == [{PERSON}, {CAR}]


def test_a_track_ends_where_its_car_has_parked() -> None:
    seen = frames(300)
    arriving = walker(seen, (100, 300), (60, 0), size=(80, 50), label=CAR, during=(0, 5))
    parked = walker(seen, (400, 300), (0, 0), size=(80, 50), label=CAR, during=(5.05, 30), moving=0.0)
    tracks = track(seen, together(arriving, parked), confident=0.5)
    assert ids(tracks) == [1]
    assert tracks.time_us.max() <= 5.5 * SECOND
    assert track(seen, together(arriving, parked), confident=0.5, gate=False).time_us.max() > 29 * SECOND


def test_a_track_begins_where_its_car_leaves() -> None:
    seen = frames(150)
    parked = walker(seen, (100, 300), (0, 0), size=(80, 50), label=CAR, during=(0, 10), moving=0.0)
    leaving = walker(seen, (100 - 600, 300), (60, 0), size=(80, 50), label=CAR, during=(10.05, 15))
    tracks = track(seen, together(parked, leaving), confident=0.5)
    assert ids(tracks) == [1]
    assert tracks.time_us.min() > 9.5 * SECOND


def test_the_class_is_voted() -> None:
    seen = frames(60)
    found = walker(seen, (100, 200), (60, 0), size=(90, 60), label=TRUCK)
    label = found.label.copy()
    label[::3] = CAR
    assert set(track(seen, replace(found, label=label), confident=0.5).label) == {TRUCK}


def test_no_frames_no_boxes_and_one_frame_give_no_tracks() -> None:
    none = only(CROWD, np.zeros(0, np.int64))
    assert len(track(frames(0), none, confident=0.5)) == 0
    assert len(track(CROWD_FRAMES, none, confident=0.5)) == 0
    one = frames(1)
    assert len(track(one, walker(one, (10, 10), (0, 0)), confident=0.5)) == 0
    assert len(dense(track(one, none, confident=0.5), one)) == 0


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(random) -> None:  # type: ignore[no-untyped-def]
    order = list(range(len(CROWD)))
    random.shuffle(order)
    assert bits(track(CROWD_FRAMES, only(CROWD, np.array(order)), confident=0.5)) == EXPECTED


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 80), max_size=5))
def test_tables_cut_anywhere_and_joined_give_the_same_tracks(cuts: list[int]) -> None:
    bounds = sorted({0, 80, *cuts})
    times = [(CROWD_FRAMES.time_us[a], CROWD_FRAMES.time_us[b - 1]) for a, b in pairwise(bounds)]
    parts = [only(CROWD, (CROWD.time_us >= a) & (CROWD.time_us <= b)) for a, b in times]
    joined = Detections(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Detections)))
    assert bits(track(CROWD_FRAMES, joined, confident=0.5)) == EXPECTED


def test_what_happens_in_one_place_does_not_depend_on_another() -> None:
    """The frames of a second crowd, an hour later, change nothing but ids."""
    later = frames(80, start_us=3600 * SECOND)
    both = Frames(*(np.concatenate([getattr(CROWD_FRAMES, f.name), getattr(later, f.name)]) for f in fields(Frames)))
    twice = together(CROWD, replace(CROWD, time_us=CROWD.time_us + 3600 * SECOND))
    tracks = track(both, twice, confident=0.5)
    assert bits(tracks.only(tracks.time_us < 60 * SECOND)) == EXPECTED
    assert tracks.box[tracks.time_us > 60 * SECOND].tobytes() == EXPECTED[list(Tracks.__dataclass_fields__).index("box")]


def test_dense_tracks_have_every_frame_and_the_same_rows_where_there_was_a_look() -> None:
    looked = np.full(100, Looked.SKIPPED, np.uint8)
    looked[::5] = Looked.DETECTED
    seen = replace(frames(100, fps=30), looked=looked)
    found = walker(seen, (100, 200), (90, 30), noise=1)
    tracks = track(seen, only(found, np.isin(found.time_us, seen.time_us[::5])), confident=0.5)
    every = dense(tracks, seen)
    assert every.frame.tolist() == list(range(96))
    assert bits(every.only(every.frame % 5 == 0)) == bits(tracks)
    truth = np.array([100, 240]) + every.time_us[:, None] * 1e-6 * np.array([90, 30])
    assert np.abs(every.foot - truth).max() < 4
    part = dense(tracks, seen, 20, 31)
    assert bits(part) == bits(every.only((every.frame >= 20) & (every.frame < 31)))


def test_between_two_looks_a_box_stays_around_its_foot_in_a_bend() -> None:
    turn = np.linspace(0, np.pi, 10)
    place = 100 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    knots = path([(300 + x, 300 + y) for x, y in place], fps=2)
    seen = frames(91, fps=20)
    every = dense(replace(knots, frame=knots.frame * 10), seen)
    assert np.hypot(*(every.foot - 300).T) == pytest.approx(100, abs=3)
    assert (every.box[:, 0] + every.box[:, 2]) / 2 == pytest.approx(every.foot[:, 0], abs=0.01)
    assert every.box[:, 3] == pytest.approx(every.foot[:, 1], abs=0.01)


def test_people_of_a_real_scene_keep_their_ids_when_a_third_of_their_boxes_is_lost() -> None:
    table = np.loadtxt(real("cctv/pets/gt.txt"), delimiter=",")
    kept = table[np.random.default_rng(1).random(len(table)) > 0.33]
    seen = frames(795, fps=7)
    box = np.concatenate([kept[:, 2:4], kept[:, 2:4] + kept[:, 4:6]], axis=1).astype(np.float32)
    time_us, ones = seen.time_us[kept[:, 0].astype(int) - 1], np.ones(len(kept), np.float32)
    found = Detections(time_us, np.zeros(len(kept), np.uint8), 0.8 * ones, box, 0.5 * ones)
    tracks = track(seen, found, confident=0.5)
    assert len(tracks) > 0.97 * len(table)
    assert len(ids(tracks)) <= 26


EXPECTED = bits(track(CROWD_FRAMES, CROWD, confident=0.5))
