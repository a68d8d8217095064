"""Process: a segment of video becomes its frames, their detections, and pictures for the background of the timeline.

A segment is a run of blocks. Each block is worked on as if it were alone: what comes out for it depends on its pictures and
on those of the `WARMUP_US` before, and on nothing else, so any segmentation gives the same tables.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tilery.workload import Item, Work
from tilery.workloads.cctv import motion, region, still, tables
from tilery.workloads.cctv.clips import BLOCK_US, Clip
from tilery.workloads.cctv.decode import Picture, decode
from tilery.workloads.cctv.dedup import saving
from tilery.workloads.cctv.detections import Detections
from tilery.workloads.cctv.detector import Detector, Found
from tilery.workloads.cctv.detectors import detector_of
from tilery.workloads.cctv.frames import Frames, Looked
from tilery.workloads.cctv.levels import Levels
from tilery.workloads.cctv.options import CctvOptions
from tilery.workloads.cctv.slices import Window, joined, uncut, windows
from tilery.workloads.cctv.stabilise import Stabiliser
from tilery.workloads.cctv.stabilise import size as stabilised_size

WARMUP_US = 4_000_000
SAMPLE_US = 1_000_000
"""The background of a block is made of the first picture of each second."""
CHUNK = 64
"""Frames that are kept until the background is known: more than a block at the usual rate looks at."""
MOTION_PX = 416
"""Longest side of the picture in which motion is sought."""
SLICED_PX = 1600
"""Longest side from which on a drone's frames are detected in slices."""
PICTURES = 48
"""Of the whole timeline, for its background."""
PICTURE_US = 1_000_000
"""They are not nearer to each other: what moves would not be gone."""
PICTURE_PX = 1280
AHEAD, TOGETHER = 8, 4
"""Pictures decoded ahead, by a thread of its own, and handed over so many at once: to hand one over costs 0.05 ms."""
UNREGISTERED = np.full((3, 3), np.nan)


@dataclass(eq=False)
class View:
    """A part of a frame that went through the detector, or is about to."""

    window: Window
    cells: NDArray[np.uint8]
    part: Part | None = None
    """Only this was looked at."""
    found: Found = field(default_factory=Found.nothing)
    """In pixels of the frame."""


@dataclass(frozen=True)
class Part:
    """Of the small picture, in its pixels: what changed since another view of the same."""

    since: View
    tiles: region.Tiles
    window: Window


@dataclass
class Look:
    """A frame that was looked at: anew, or by way of parts that have not changed since."""

    time_us: int
    small: NDArray[np.uint8]
    views: list[View]


@dataclass
class Told:
    """What a segment comes to."""

    time_us: list[int] = field(default_factory=list)
    looked: list[Looked] = field(default_factory=list)
    to_reference: list[NDArray[np.float64]] = field(default_factory=list)
    seen: list[tuple[int, Found, NDArray[np.float32]]] = field(default_factory=list)
    """Time, boxes in pixels of the frame, share of each that moves."""
    pictures: list[tables.Packed] = field(default_factory=list)
    error_px: list[float] = field(default_factory=list)
    """Of each frame that was registered."""
    views: int = 0
    """Frames, or slices of them, that a detector without memory would have looked at."""
    calls: int = 0


def process(work: Work[CctvOptions], item: Item) -> dict[str, Any]:
    """Detect in a segment. Writes frames/ID, detections/ID and background/ID."""
    clip = Clip.of(work.run.facts["clips"][item["clip"]])
    detector = detector_of(work)
    cv2.setNumThreads(1)
    segment = Segment(work, clip, detector)
    start_us = item["start_us"]
    stop_us = item["stop_us"] if item["stop_us"] is not None else max(clip.duration_us, start_us + 1)
    from_us = max(0, start_us - WARMUP_US)
    pictures = decode(work.store, work.run, clip, from_us, item["stop_us"], item["decode_from"], cell=segment.cell)
    for picture in ahead(pictures):
        if picture.clip_us < start_us:
            segment.warm_up(picture)
        else:
            segment.take(picture)
            work.progress(min(1.0, (picture.clip_us - start_us) / (stop_us - start_us)))
    told = segment.finish(ends=item["stop_us"] is None)
    return {**write(work, item, told, detector), "dedup": saving.segment(work, item)}


class Segment:
    """Takes the pictures of a segment in order."""

    def __init__(self, work: Work[CctvOptions], clip: Clip, detector: Detector | None) -> None:
        self._options, self._clip, self._detector = work.options, clip, detector
        self._hz = Fraction(work.options.detect_hz).limit_denominator(1000)
        width, height = clip.width, clip.height
        factor = min(1.0, MOTION_PX / max(width, height))
        self._motion_size = max(1, round(width * factor)), max(1, round(height * factor))
        self._size = detector.size(width, height) if detector else self._motion_size
        self._scale = width / self._motion_size[0], height / self._motion_size[1]
        self._whole = Window(0, 0, width, height)
        self._slices = self._sliced()
        large = max(width, height) > region.LARGE
        self._in_parts = large and not self._slices and detector is not None and detector.any_size
        self._wanted = picture_times(work.run.facts["clips"], clip)
        self._drone = _stabiliser(work) if work.options.view == "drone" else None
        self._told = Told()
        self._block = -1
        self._levels: Levels | None = None
        """Of the block: those of its first look."""
        self._samples: deque[tuple[int, NDArray[np.uint8]]] = deque()
        self._looks: list[Look] = []
        self._pending: list[tuple[View, NDArray[np.uint8]]] = []
        self._views: list[View] = []
        self._last_look = self._last_whole = -1
        self._skipped: tuple[int, Picture] | None = None

    def _sliced(self) -> list[Window]:
        """The slices, where small things are to be expected: in a drone's large frames, or where it is asked for."""
        options, clip = self._options, self._clip
        large = options.view == "drone" and max(clip.width, clip.height) >= SLICED_PX
        if self._detector is None or options.slices == "off" or (options.slices == "auto" and not large):
            return []
        side = max(self._size)
        return windows(clip.width, clip.height, side, side) if max(clip.width, clip.height) > side else []

    def cell(self, clip_us: int) -> tuple[int, int, int]:
        """Only the first picture in each is looked at, or a sample of the background."""
        return clip_us // BLOCK_US, _cell(clip_us, self._hz), clip_us // SAMPLE_US

    def warm_up(self, picture: Picture) -> None:
        """A picture before the segment."""
        if not (picture.damaged or picture.spared or self._drone):
            self._sample(picture, None)

    def take(self, picture: Picture) -> None:
        block = picture.clip_us // BLOCK_US
        if block != self._block:
            self._settle()
            self._begin(block)
        looked, matrix, small = Looked.DAMAGED, UNREGISTERED if self._drone else np.eye(3), None
        if picture.spared:
            looked = Looked.SKIPPED
        elif not picture.damaged:
            looked, self._skipped = Looked.SKIPPED, (len(self._told.time_us), picture)
            if self._due(picture.clip_us):
                small = picture.rgb(*self._size)
                looked, matrix, self._skipped = self._look(picture, small), self._register(picture), None
            if not self._drone:
                self._sample(picture, small)
            self._keep(picture)
        self._told.time_us.append(picture.time_us)
        self._told.looked.append(looked)
        self._told.to_reference.append(matrix)

    def finish(self, *, ends: bool = False) -> Told:
        """ends: the clip does. What happens after the last look that was due would be lost: its last picture is looked at."""
        if ends and self._skipped is not None:
            number, picture = self._skipped
            self._told.looked[number] = self._look(picture, picture.rgb(*self._size))
            self._told.to_reference[number] = self._register(picture)
        self._settle()
        return self._told

    def _begin(self, block: int) -> None:
        """Nothing of the block before is known any more but the samples of the warm-up."""
        self._block, self._views, self._last_look, self._last_whole, self._skipped = block, [], -1, -1, None
        self._levels = None
        while self._samples and self._samples[0][0] * SAMPLE_US < block * BLOCK_US - WARMUP_US:
            self._samples.popleft()

    def _due(self, clip_us: int) -> bool:
        return self._last_look < 0 or _cell(clip_us, self._hz) != _cell(self._last_look, self._hz)

    def _look(self, picture: Picture, small: NDArray[np.uint8]) -> Looked:
        self._last_look = picture.clip_us
        self._levels = self._levels or Levels.of(small)
        given = [(self._whole, self._levels(small))]
        if self._slices:
            full = self._levels(picture.rgb())
            given += [(window, window.of(full)) for window in self._slices]
        whole = picture.clip_us // region.WHOLE_US != self._last_whole // region.WHOLE_US
        views = [self._view(place, window, pixels, whole) for place, (window, pixels) in enumerate(given)]
        new = [
            (view, view.part.window.of(pixels) if view.part else pixels)
            for view, (_, pixels) in zip(views, given, strict=True)
            if view not in self._views
        ]
        if any(view.part is None for view, _ in new):
            self._last_whole = picture.clip_us
        self._told.views += len(views)
        if not new:
            return Looked.STILL
        self._views = views
        self._looks.append(Look(picture.time_us, self._for_motion(small), views))
        self._pending += new
        if self._detector is None or len(self._pending) >= self._detector.batch:
            self._detect()
        if len(self._looks) >= CHUNK:
            self._settle()
        return Looked.DETECTED

    def _view(self, place: int, window: Window, pixels: NDArray[np.uint8], whole: bool) -> View:
        """The last view of this part of the frame if nothing has changed in it since, else a new one, of what changed alone
        unless it is to be `whole`."""
        cells = still.cells(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8))
        if not self._options.still or self._drone or not self._views:
            return View(window, cells)
        before = self._views[place]
        tiles = still.changed(before.cells, cells)
        if not tiles.any():
            return before
        if whole or not self._in_parts:
            return View(window, cells)
        seen = region.around(tiles, pixels.shape[1], pixels.shape[0])
        return View(window, cells, Part(before, tiles, seen) if seen else None)

    def _detect(self) -> None:
        """Everything that waits for the detector, in batches that depend on the block alone."""
        if self._detector:
            found = self._detector.detect([pixels for _, pixels in self._pending])
            for (view, pixels), one in zip(self._pending, found, strict=True):
                view.found = self._in_frame(view, one, pixels.shape)
            self._told.calls += len(self._pending)
        self._pending = []

    def _in_frame(self, view: View, found: Found, shape: tuple[int, ...]) -> Found:
        """What was found in a picture of this shape, in pixels of the frame; with what is known of the rest of it."""
        window, part = view.window, view.part
        if part:
            width, height = self._size
            across, down = window.width / width, window.height / height
            found = found.placed(part.window.left, part.window.top, 1, 1)
            before = part.since.found.placed(0, 0, 1 / across, 1 / down)
            return region.renewed(before, found, part.tiles, part.window, width, height).placed(0, 0, across, down)
        found = found.placed(window.left, window.top, window.width / shape[1], window.height / shape[0])
        return found if window == self._whole else uncut(found, window, self._clip.width, self._clip.height)

    def _sample(self, picture: Picture, small: NDArray[np.uint8] | None) -> None:
        cell = picture.clip_us // SAMPLE_US
        if not self._samples or self._samples[-1][0] != cell:
            self._samples.append((cell, self._for_motion(small if small is not None else picture.rgb(*self._size))))

    def _for_motion(self, small: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture that the detector sees, no larger than motion needs."""
        if small.shape[1::-1] == self._motion_size:
            return small
        by_area = small.shape[1] > 2 * self._motion_size[0]  # else as good, and an eighth of the time
        return np.asarray(
            cv2.resize(small, self._motion_size, interpolation=cv2.INTER_AREA if by_area else cv2.INTER_LINEAR), np.uint8
        )

    def _settle(self) -> None:
        """The frames looked at so far, now that the background around them is known."""
        self._detect()
        if not self._looks or self._levels is None:
            return
        background = motion.Background.of([self._levels(one) for _, one in self._samples]) if self._samples else None
        for look in self._looks:
            found = joined([view.found for view in look.views]) if self._slices else look.views[0].found
            moving = np.full(len(found), np.nan, np.float32)
            if background is not None:
                found, moving = self._moving(found, background.moving(self._levels(look.small)))
            self._told.seen.append((look.time_us, found, moving))
        self._looks = []

    def _moving(self, found: Found, mask: NDArray[np.uint8]) -> tuple[Found, NDArray[np.float32]]:
        """Boxes in pixels of the frame, and the share of each that moves."""
        if self._detector is None:
            blobs = motion.blobs(mask)
            return blobs.placed(0, 0, *self._scale), motion.shares(mask, blobs.box)
        across, down = self._scale
        small, moving = motion.fused(found.placed(0, 0, 1 / across, 1 / down), mask, self._detector.score)
        return small.placed(0, 0, across, down), moving

    def _register(self, picture: Picture) -> NDArray[np.float64]:
        if self._drone is None:
            return np.eye(3)
        registered = self._drone.to_reference(picture.gray(*stabilised_size(picture.width, picture.height)))
        if registered is None:
            return UNREGISTERED
        self._told.error_px.append(round(registered.error_px, 2))
        return registered.matrix

    def _keep(self, picture: Picture) -> None:
        """The first picture of the block from a time on that is wanted for the background of the timeline."""
        while self._wanted and self._wanted[0] // BLOCK_US < self._block:
            self._wanted.pop(0)
        if self._wanted and self._wanted[0] <= picture.clip_us:
            while self._wanted and self._wanted[0] <= picture.clip_us:
                self._wanted.pop(0)
            factor = min(1.0, PICTURE_PX / max(picture.width, picture.height))
            small = picture.rgb(round(picture.width * factor), round(picture.height * factor))
            self._told.pictures.append(tables.Packed.of(picture.time_us, small))


def picture_times(clips: list[dict[str, Any]], clip: Clip) -> list[int]:
    """Times of the clip at which pictures for the background are wanted: evenly over the time of all clips."""
    total = sum(one["duration_us"] for one in clips)
    before = sum(one["duration_us"] for one in clips if one["offset_us"] < clip.offset_us)
    count = min(PICTURES, -(-total // PICTURE_US))
    times = [(2 * number + 1) * total // (2 * count) - before for number in range(count)]
    return [time for time in times if 0 <= time < clip.duration_us]


def ahead(pictures: Iterable[Picture]) -> Iterator[Picture]:
    """The same pictures, some of them decoded ahead by another thread."""
    iterator = iter(pictures)
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(_some, iterator) for _ in range(AHEAD // TOGETHER))
        while some := waiting.popleft().result():
            waiting.append(pool.submit(_some, iterator))
            yield from some


def _some(pictures: Iterator[Picture]) -> list[Picture]:
    return list(islice(pictures, TOGETHER))


def write(work: Work[CctvOptions], item: Item, told: Told, detector: Detector | None) -> dict[str, Any]:
    count = len(told.time_us)
    looked = np.array(told.looked, np.uint8)
    frames = Frames(np.array(told.time_us, np.int64), looked, np.array(told.to_reference, np.float64).reshape(count, 3, 3))
    found = detections(told)
    work.store.put(work.out("frames", item["id"]), tables.encode_frames(frames))
    work.store.put(work.out("detections", item["id"]), tables.encode_detections(found))
    work.store.put(work.out("background", item["id"]), tables.encode_pictures(told.pictures))
    registered = int((np.isfinite(frames.to_reference).all(axis=(1, 2)) & (looked == Looked.DETECTED)).sum())
    return {
        "frames": count,
        "skipped": int((looked == Looked.SKIPPED).sum()),
        "detected": int((looked == Looked.DETECTED).sum()),
        "still": int((looked == Looked.STILL).sum()),
        "damaged": int((looked == Looked.DAMAGED).sum()),
        "boxes": len(found),
        "pictures": len(told.pictures),
        "detector_calls": told.calls,
        "detector_calls_saved": told.views - told.calls if detector else 0,
        "registered": registered,
        "error_px": told.error_px,
        "unregistered": int((looked == Looked.DETECTED).sum()) - registered,
        "detector": detector.name if detector else "motion",
        "digest": detector.digest if detector else "",
        "provider": detector.provider if detector else "none",
        "confident": work.options.score or (detector.score if detector else motion.CONFIDENT),
    }


def detections(told: Told) -> Detections:
    found = [one for _, one, _ in told.seen]
    times = [np.full(len(one), time_us, np.int64) for time_us, one, _ in told.seen]
    every = Found(
        np.concatenate([one.label for one in found] or [np.zeros(0, np.uint8)]),
        np.concatenate([one.score for one in found] or [np.zeros(0, np.float32)]),
        np.concatenate([one.box for one in found] or [np.zeros((0, 4), np.float32)]),
    )
    moving = np.concatenate([one for _, _, one in told.seen] or [np.zeros(0, np.float32)])
    return Detections(np.concatenate(times or [np.zeros(0, np.int64)]), every.label, every.score, every.box, moving)


def _cell(time_us: int, hz: Fraction) -> int:
    """floor(t * hz), exactly."""
    return time_us * hz.numerator // (hz.denominator * 1_000_000)


def _stabiliser(work: Work[CctvOptions]) -> Stabiliser:
    """On the first whole picture of the timeline."""
    clip = Clip.of(min(work.run.facts["clips"], key=lambda one: one["offset_us"]))
    first = next(picture for picture in decode(work.store, work.run, clip) if not picture.damaged)
    return Stabiliser(first.gray(*stabilised_size(clip.width, clip.height)), clip.width, clip.height)
