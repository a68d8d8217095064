"""The options of the CCTV workload. Light to import: control functions validate options without numpy."""

from __future__ import annotations

import difflib
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tilery.options import Options
from tilery.workloads.cctv.labels import COCO

Point = tuple[float, float]
"""A point of the upright picture in pixels, from its top left corner."""
Line = tuple[Point, Point]
Polygon = Annotated[list[Point], Field(min_length=3, max_length=200)]
Longitude = Annotated[float, Field(ge=-180, le=180)]
Latitude = Annotated[float, Field(gt=-90, lt=90)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9 ._-]{1,40}$")]

DETECTORS = ("auto", "nanodet", "nanodet8", "centernet", "motion")
ROAD_USERS = ["person", "bicycle", "car", "motorcycle", "bus", "truck"]


class Calibration(BaseModel):
    """From pixels to metres on the ground: four points and where they are, or the homography itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    points: list[Point] = Field(default_factory=list, description="Points of the picture (pixels), at least four.")
    metres: list[Point] = Field(default_factory=list, description="Where they are on the ground (m east, m north).")
    homography: list[list[float]] = Field(default_factory=list, description="3 x 3: pixels to metres, instead of the points.")
    origin: tuple[Longitude, Latitude] | None = Field(None, description="Longitude and latitude (degrees) of 0 m, 0 m.")

    @model_validator(mode="after")
    def _one_way(self) -> Calibration:
        if self.homography:
            if self.points or self.metres or len(self.homography) != 3 or any(len(row) != 3 for row in self.homography):
                raise ValueError("give a homography of 3 x 3 numbers, or points and metres, not both")
        elif len(self.points) < 4 or len(self.points) != len(self.metres):
            raise ValueError("give at least four points, and as many metres")
        return self


class CctvOptions(Options):
    """Options of a CCTV run. Times are seconds, places in the picture are pixels of the upright frame."""

    camera: str = Field(
        "",
        pattern=r"^[A-Za-z0-9 ._-]{0,64}$",
        description="Name of the camera, in the report (else the drop's name) and in files.",
    )
    start: datetime | None = Field(
        None, description="When the first frame was taken (ISO 8601); else file names or metadata say."
    )
    zone: str = Field("UTC", max_length=64, description="Time zone of times that name none, as Europe/Rome.")
    frame_hz: float | None = Field(
        None, gt=0, le=1000, description="Frames a second of a folder of frames; else its seqinfo.ini says, or 25 are assumed."
    )
    gap_s: float = Field(2.0, ge=0, description="After a gap between clips longer than this (s), track ids start anew.")
    segment_s: float = Field(60.0, ge=5, le=3600, description="Length of a unit of work (s); results do not depend on it.")
    detector: str = Field(
        "auto",
        max_length=200,
        description="auto, nanodet, nanodet8, centernet, motion, or a file NAME.json that describes your ONNX model.",
    )
    classes: list[str] = Field(
        default_factory=lambda: list(ROAD_USERS), min_length=1, description="What is looked for, by COCO name."
    )
    score: float = Field(0.0, ge=0, lt=1, description="Least score of a confident detection; 0 takes the detector's own.")
    detect_hz: float = Field(
        5.0, gt=0, le=120, description="Frames a second that are looked at; the tracker bridges the others."
    )
    slices: Literal["auto", "off", "on"] = Field("auto", description="Detect large frames in slices at native scale.")
    still: bool = Field(True, description="Skip frames in which nothing changed since the last one looked at.")
    gate: bool = Field(True, description="Drop boxes in which nothing ever moves, and vehicles that stay parked.")
    view: Literal["fixed", "drone"] = Field("fixed", description="A drone's frames are registered to one reference frame.")
    lines: dict[Name, Line] = Field(default_factory=dict, description="Counting lines; two are proposed where there are none.")
    zones: dict[Name, Polygon] = Field(default_factory=dict, description="Areas for the origin-destination matrix.")
    calibration: Calibration | None = Field(None, description="Pixels to metres; without it speeds are pixels a second.")
    bin_s: float = Field(60.0, ge=1, description="Time bin of the counts (s).")
    max_speed_kmh: float = Field(200.0, gt=0, description="Speeds above are flagged as impossible.")
    annotate: bool = Field(False, description="Make a video with boxes, tracks, lines and counts.")
    film_px: int = Field(1280, ge=160, le=3840, description="Longer side of that video (pixels), at most.")
    blur: list[Literal["people", "plates"]] = Field(
        default_factory=list, description="Blur people, or the number plates of vehicles, in all that is published."
    )
    dedup: Literal["off", "report", "store"] = Field(
        "report", description="Say what storing frames once would save, or store them as well (frame folders, raw video)."
    )
    dedup_error: int = Field(0, ge=0, le=32, description="Largest error of a stored sample (of 255); 0 stores frames exactly.")
    max_megapixels: float = Field(40.0, gt=0, description="Larger frames are refused.")
    max_hours: float = Field(48.0, gt=0, description="Longer videos are refused.")

    @field_validator("classes")
    @classmethod
    def _of_coco(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in COCO:
                near = difflib.get_close_matches(name, COCO, n=1)
                raise ValueError(f"{name!r} is no class of COCO" + (f"; did you mean {near[0]!r}?" if near else ""))
        return names

    @field_validator("detector")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in DETECTORS and not name.endswith(".json"):
            raise ValueError(f"choose one of {', '.join(DETECTORS)}, or a NAME.json of the drop that describes your model")
        return name

    @model_validator(mode="after")
    def _go_together(self) -> CctvOptions:
        if self.view == "drone" and self.detector == "motion":
            raise ValueError("view=drone needs a detector with a model: to a camera that moves, everything moves")
        if self.blur and self.dedup == "store":
            raise ValueError("dedup=store keeps frames with everyone who is in them: leave it out, or blur")
        return self

    @field_validator("lines")
    @classmethod
    def _lead_somewhere(cls, lines: dict[str, Line]) -> dict[str, Line]:
        for name, (start, end) in lines.items():
            if start == end:
                raise ValueError(f"the line {name!r} starts where it ends")
        return lines

    @field_validator("zones")
    @classmethod
    def _span_an_area(cls, zones: dict[str, Polygon]) -> dict[str, Polygon]:
        for name, ((x0, y0), *others) in zones.items():
            if all((x1 - x0) * (y2 - y0) == (x2 - x0) * (y1 - y0) for (x1, y1), (x2, y2) in pairwise(others)):
                raise ValueError(f"the points of the zone {name!r} lie on a line: give three or more around an area")
        return zones
