"""NAME.json beside NAME.onnx: what a user's detector takes and how its numbers are read."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tilery.outcomes import BadInput
from tilery.workloads.cctv.labels import LABELS

ALSO = {
    "pedestrian": "person", "people": "person", "human": "person", "bike": "bicycle", "cyclist": "bicycle",
    "motorbike": "motorcycle", "motor": "motorcycle", "van": "car", "vehicle": "car", "lorry": "truck",
    "tricycle": "motorcycle", "awning-tricycle": "motorcycle", "aeroplane": "airplane", "tvmonitor": "tv",
    "sofa": "couch", "diningtable": "dining table", "pottedplant": "potted plant",
}  # fmt: skip
"""Other names of classes in common data sets (VOC, VisDrone, KITTI), in lower case."""


class Input(BaseModel):
    """The tensor that the model takes, one picture at a time or many."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(ge=32, le=4096, description="Pixels; with free_size, the longer side.")
    height: int = Field(ge=32, le=4096)
    free_size: bool = Field(False, description="The model takes any width and height that are multiples of `multiple`.")
    multiple: int = Field(32, ge=1, le=256)
    layout: Literal["nchw", "nhwc"] = "nchw"
    colours: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = Field((0.0, 0.0, 0.0), description="Taken off each channel, in the order of `colours`.")
    std: tuple[float, float, float] = Field((1.0, 1.0, 1.0), description="Then each channel is divided by these.")
    divide: float = Field(1.0, gt=0, description="Values of 0 to 255 are divided by this first: 1 or 255.")
    fit: Literal["letterbox", "stretch"] = "letterbox"
    fill: int = Field(114, ge=0, le=255, description="Value of the margin of a letterbox.")


class Decode(BaseModel):
    """How boxes are read from the model's outputs.

    yolox: N x positions x (x, y, w, h, object, classes), undecoded, positions row by row of each stride in turn.
    nanodet: per stride a map of class scores and one of 4 x (reach + 1) distances, as N x C x h x w.
    centernet: N x h x w x classes (peaks) and N x h x w x 4 (left, top, right, bottom in pixels), at one stride.
    detr: N x queries x classes (+ 1 for none, at the end) and N x queries x (x, y, w, h), as shares of the picture.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["yolox", "nanodet", "centernet", "detr"]
    outputs: list[str] = Field(default_factory=list, description="Names, as the kind has them; the model's order by default.")
    strides: list[int] = Field(default_factory=lambda: [8, 16, 32], min_length=1, max_length=6)
    reach: int = Field(10, ge=1, le=64, description="nanodet: the largest distance, in strides (reg_max).")
    logits: bool = Field(False, description="Scores are logits: a sigmoid is applied (detr: softmax where there is a none).")
    none: bool = Field(True, description="detr: the last class means that nothing is there.")
    nms: float = Field(0.6, ge=0, le=1, description="Of two boxes that overlap by more (IoU), the better one stays.")


class Description(BaseModel):
    """The description file. `classes` are the model's classes in order; null leaves one out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field("", max_length=200, description="The ONNX file; NAME.onnx by default.")
    input: Input
    decode: Decode
    classes: list[str | None] = Field(min_length=1, max_length=2000)
    score: float = Field(0.35, gt=0, lt=1, description="From here on a detection is confident.")
    licence: str = Field("", max_length=500)

    @model_validator(mode="after")
    def _known(self) -> Description:
        for name in self.classes:
            if name is not None and name_of(name) not in LABELS:
                raise ValueError(
                    f"the class {name!r} is no COCO class: use the COCO name of what it is, or null to leave it out"
                )
        return self

    @property
    def labels(self) -> list[int]:
        """For each class of the model its index into `labels.LABELS`, or -1."""
        return [LABELS.index(name_of(name)) if name is not None else -1 for name in self.classes]


def name_of(name: str) -> str:
    """The COCO name of a class."""
    lower = name.strip().lower()
    return ALSO.get(lower, lower)


def read(name: str, data: bytes) -> Description:
    """A description file. Raises `BadInput` naming the file and the field."""
    try:
        value: Any = json.loads(data)
    except ValueError as error:
        raise BadInput(f"{name} is no JSON: {error}") from None
    try:
        return Description.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise BadInput(f"{name} does not describe a detector: {where}: {first['msg']}") from None
