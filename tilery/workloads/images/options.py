"""The options of the images workload. Light to import: control functions validate options without a picture library."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema, field_validator

from tilery.options import Options
from tilery.workloads.images import operations as vocabulary
from tilery.workloads.images.operations import Format


class ImagesOptions(Options):
    """Options of a run on pictures."""

    operations: Annotated[list[Any], WithJsonSchema(vocabulary.schema())] = Field(
        default_factory=list, description="What is done to every picture, in order; each step's output is the next one's input."
    )
    output: Format = Field("jpg", description="Format of the pieces.")
    quality: int = Field(85, ge=1, le=100, description="Of jpg, webp and avif; 100 is lossless for webp and avif.")
    background: str = Field(
        "#ffffff", pattern="^#[0-9a-fA-F]{6}$", description="What shows through transparent pixels where jpg is written."
    )
    frames: Literal["first", "all"] = Field("first", description="Of animations and multi-page files; all: each is a piece.")
    metadata: Literal["drop", "keep"] = Field("drop", description="keep: EXIF, XMP and IPTC go along (place and date too).")
    max_megapixels: float = Field(200.0, gt=0, le=2000, description="A larger picture is an error: it may be a bomb.")
    timeout_s: float = Field(120.0, gt=0, le=600, description="A picture that takes longer is an error.")
    fail_on_error: bool = Field(False, description="The whole run fails if one picture does.")
    sheet: int = Field(240, ge=1, le=2000, description="Pictures on the contact sheet; of more, an even choice.")

    @field_validator("operations", mode="before")
    @classmethod
    def _known(cls, given: Any) -> list[Any]:
        return vocabulary.canonical(vocabulary.parse(given))


def schema() -> dict[str, Any]:
    """The JSON Schema of the options, and so of `options` in `_READY.json`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **ImagesOptions.model_json_schema()}
