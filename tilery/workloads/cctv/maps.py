"""Pictures and grids of a run: the heat map over the background, the paths, and a frame with what was found in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from tilery.workload import Work
from tilery.workloads.cctv import backdrop, blur, exports, heat, heatmap, marks
from tilery.workloads.cctv.backdrop import Backdrop
from tilery.workloads.cctv.calibration import Ground
from tilery.workloads.cctv.frames import Frames
from tilery.workloads.cctv.heat import Heat
from tilery.workloads.cctv.options import CctvOptions
from tilery.workloads.cctv.tracks import Tracks, dense

if TYPE_CHECKING:
    from tilery.workloads.cctv.analysis import Analysis

Rgb = NDArray[np.uint8]
PATHS_SHOWN = 600
LEAST_WIDTH = 640
"""Smaller pictures are enlarged, so that what is written on them can be read."""
NEAR_US = 1_000_000
"""What was found so near to the moment of a picture is hidden in it, whether it was tracked or not."""
REACH_US = 5_000_000
"""Between two rows of a track there is never more time."""
GROUND_CELLS = 512
"""Cells along the longer side of the map on the ground."""
FARTHEST = 4.0
"""The map ends where a cell of the picture is this many times as large on the ground as at its median: near the horizon."""


def maps(work: Work[CctvOptions], done: Analysis, parts: Sequence[str]) -> tuple[list[tuple[str, str]], list[dict[str, Any]]]:
    """Write the pictures and grids; (kind, path) of those that are products, and the hot spots."""
    behind = backdrop.backdrop(work, parts, done.found, done.size)
    found = heat.heat(done.tracks, done.speed, done.size)
    spots = heat.spots(found)
    users = max(1, len(np.unique(done.tracks.id)))
    work.store.put(work.out("background.png"), marks.png(behind.picture))
    large = backdrop.enlarged(behind, LEAST_WIDTH)
    work.store.put(work.out("paths.png"), marks.png(paths(done, large)))
    sample = sampled(done, large, work.options.blur)
    if sample is not None:
        work.store.put(work.out("sample.png"), marks.png(sample))
    png = heatmap.heatmap(found, behind.picture, "flow", done.lines, work.options.zones, spots)
    work.store.put(work.out("heatmap.png"), png)
    grids = {"occupancy_s": found.occupancy, "flow": found.flow, "speed": found.speed}
    about = {"cell_px": np.array(found.cell_px), "speed_unit": np.array(found.unit)}
    work.store.put(work.out("heatmap.npz"), exports.npz({**grids, **about}))
    products = [("heatmap", "heatmap.png"), ("heatmap", "heatmap.npz")]
    if done.ground is not None and done.ground.origin is not None:
        data = on_ground(found, done.ground, done.size)
        if data is not None:
            work.store.put(work.out("heatmap.tif"), data)
            products.append(("heatmap", "heatmap.tif"))
    told = [
        {
            "kind": spot.kind,
            "x": round(spot.x),
            "y": round(spot.y),
            "flow": spot.flow,
            "share": f"{100 * spot.flow / users:.0f} %",
        }
        for spot in spots
    ]  # fmt: skip
    return products, told


def paths(done: Analysis, behind: Backdrop) -> Rgb:
    """The way of each road user over the background, lines and zones on top; the longest ones where there are very many."""
    canvas = np.ascontiguousarray((behind.picture * 0.7).astype(np.uint8))
    every = sorted(done.tracks.by_track(), key=lambda track: -len(track[1]))[:PATHS_SHOWN]
    for identity, rows in reversed(every):
        marks.path(canvas, done.tracks.foot[rows] * behind.scale, marks.colour_of(identity), thickness=1)
    lines = {name: np.asarray(line, float) * behind.scale for name, line in done.lines.items()}
    marks.shapes(canvas, lines, marks.LINE, closed=False)
    return canvas


def sampled(done: Analysis, behind: Backdrop, hidden: Sequence[str]) -> Rgb | None:
    """The sample with the most tracks in it, with their boxes; None where there is no sample."""
    if not behind.samples:
        return None
    frames = done.found.frames
    at = [int(np.searchsorted(frames.time_us, time_us)) for time_us, _ in behind.samples]
    there = [dense(_around(done.tracks, frames, frame), frames, frame, frame + 1) for frame in at]
    best = max(range(len(at)), key=lambda number: len(there[number]))
    own, (time_us, picture) = there[best], behind.samples[best]
    scale, height, width = np.float32(behind.scale), *picture.shape[:2]
    boxes, labels = own.box * scale, own.label
    if hidden:
        found = done.found.detections
        near = (np.abs(found.time_us - time_us) <= NEAR_US) & (found.score >= blur.DOUBTFUL * done.found.confident)
        every = np.concatenate([boxes, found.box[near] * scale])
        which = np.concatenate([labels, found.label[near]])
        picture = blur.hide(picture, blur.regions(every, which, hidden, width, height))
    canvas = np.ascontiguousarray(picture.copy())
    ids = own.id.tolist()
    marks.boxes(canvas, boxes, labels.tolist(), [str(one) for one in ids], [marks.colour_of(one) for one in ids])
    return canvas


def _around(tracks: Tracks, frames: Frames, frame: int) -> Tracks:
    """The rows that may be interpolated from."""
    time_us = frames.time_us[frame]
    return tracks.only(np.arange(*np.searchsorted(tracks.time_us, [time_us - REACH_US, time_us + REACH_US])))


def on_ground(found: Heat, plane: Ground, size: tuple[int, int]) -> bytes | None:
    """A GeoTIFF of the grids on the ground, north up, in metres about the calibration's origin; None where there is no ground.

    Each cell takes the value of the cell of the picture that shows its middle; NaN where the picture does not show it.
    """
    assert plane.origin is not None
    shown = _shown(found, plane)
    if len(shown) < 3:
        return None
    (west, south), (east, north) = shown.min(axis=0), shown.max(axis=0)
    cell = max(east - west, north - south) / GROUND_CELLS
    columns, rows = max(1, int(np.ceil((east - west) / cell))), max(1, int(np.ceil((north - south) / cell)))
    y, x = np.mgrid[:rows, :columns]
    metres = np.stack([west + (x.ravel() + 0.5) * cell, north - (y.ravel() + 0.5) * cell], axis=1)
    pixels = plane.pixels(metres)
    ahead = np.isfinite(plane.metres(pixels)).all(axis=1)
    with np.errstate(invalid="ignore"):
        inside = ahead & (pixels >= 0).all(axis=1) & (pixels < np.array(size)).all(axis=1)
    at = np.floor(np.where(np.asarray(inside)[:, None], pixels, 0) / found.cell_px).astype(int)
    bands = [
        np.where(inside, grid[at[:, 1], at[:, 0]], np.nan).reshape(rows, columns).astype(np.float32)
        for grid in (found.occupancy, found.flow, found.speed)
    ]
    longitude, latitude = plane.origin
    profile = {
        "driver": "GTiff", "width": columns, "height": rows, "count": 3, "dtype": "float32", "nodata": float("nan"),
        "crs": f"+proj=aeqd +lat_0={latitude!r} +lon_0={longitude!r} +datum=WGS84 +units=m",
        "transform": from_origin(west, north, cell, cell), "compress": "deflate",
    }  # fmt: skip
    with MemoryFile() as memory:
        with rasterio.Env(GDAL_NUM_THREADS="1"), memory.open(**profile) as target:
            target.write(np.stack(bands))
            for number, name in enumerate(("occupancy_s", "flow", f"speed_{found.unit}"), 1):
                target.set_band_description(number, name)
        return bytes(memory.read())


def _shown(found: Heat, plane: Ground) -> NDArray[np.float64]:
    """Corners (n, 2), in metres, of the cells of the picture that show ground at a useful scale."""
    rows, columns = found.flow.shape
    y, x = np.mgrid[:rows, :columns]
    centres = (np.stack([x.ravel(), y.ravel()], axis=1) + 0.5) * found.cell_px
    area = np.abs(np.linalg.det(plane.scale(centres)))
    metres = plane.metres(centres)
    good = np.isfinite(metres).all(axis=1) & np.isfinite(area)
    used = good & (found.flow.ravel() > 0)
    usual = np.median(area[used if used.any() else good]) if good.any() else 0.0
    near = np.asarray(good & (area <= FARTHEST**2 * usual))
    return np.asarray(metres[near], np.float64)
