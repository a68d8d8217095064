"""The options of the features workload. Light to import: control functions validate options without numpy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from tilery.options import Options

EMBEDDED = "efficientnet-lite0"
BLOCK = 64
"""Pictures a block: the leaf of the merge tree. Lists and parts are BLOCK times a power of two, so that the tree, and with it
every rounding, is the same whatever the lists are."""
PART = 4096
"""Pictures of one published Parquet file."""


class FeaturesOptions(Options):
    """Options of a features run."""

    backbone: str = Field(
        EMBEDDED,
        min_length=1,
        description=f"{EMBEDDED} (embedded), or the name of an .onnx file in the drop: pictures in, N x d out.",
    )
    size_px: int = Field(224, ge=16, le=2048, description="Side of the square that the backbone sees (pixels).")
    fit: Literal["stretch", "crop", "pad"] = Field("stretch", description="How a picture that is not square becomes one.")
    mean: tuple[float, float, float] | None = Field(
        None,
        description="Subtracted from R, G, B in 0 to 1 before the backbone; by default what the embedded one was trained with.",
    )
    std: tuple[float, float, float] | None = Field(None, description="Divides after that.")
    components: int | float = Field(
        0.95, description="Of the PCA: a number, or the share of variance (between 0 and 1) that they must explain."
    )
    scale: bool = Field(True, description="Divide every feature by its standard deviation before the PCA.")
    list_pictures: int = Field(
        0, ge=0, le=PART, description=f"Pictures a list: {BLOCK} times a power of two; 0 chooses. Results do not depend on it."
    )
    max_megapixels: float = Field(100.0, gt=0, le=500, description="A larger picture is an error: it may be a bomb.")
    fail_on_error: bool = Field(False, description="The whole run fails if one picture does.")
    sample: int = Field(
        5000, ge=100, le=20000, description="Pictures in the plots and in the neighbour purity, chosen by hash."
    )

    @field_validator("components")
    @classmethod
    def _number_or_share(cls, given: int | float) -> int | float:
        if given <= 0 or (given >= 1 and given != int(given)):
            raise ValueError("write a whole number of components, or a share of variance between 0 and 1")
        return int(given) if given >= 1 else float(given)

    @field_validator("std")
    @classmethod
    def _positive(cls, given: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
        if given is not None and min(given) <= 0:
            raise ValueError("every deviation must be above 0")
        return given

    @field_validator("list_pictures")
    @classmethod
    def _aligned(cls, given: int) -> int:
        blocks, rest = divmod(given, BLOCK)
        if rest or blocks & (blocks - 1):
            raise ValueError(f"write 0, or {BLOCK} times a power of two, up to {PART}")
        return given
