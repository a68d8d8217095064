"""The options of the trend workload. Light to import: control functions validate options without numpy."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tilery.options import Options
from tilery.outcomes import BadInput
from tilery.workloads.trend import expression
from tilery.workloads.trend.names import Template

Band = int | str
"""A band: its number in the file, from 1, or the name that the file name's `{band}` part gives."""

PRESETS: dict[str, dict[str, list[int]]] = {
    "scl": {"keep": [4, 5, 6, 7, 11]},
    "qa_pixel": {"bits": [0, 1, 2, 3, 4]},
    "fmask": {"keep": [0, 1]},
    "flag": {"keep": [0]},
}
"""Quality bands as the missions define them: Sentinel-2 scene classification; Landsat Collection 2 QA_PIXEL (fill, dilated
cloud, cirrus, cloud, shadow); Fmask (clear land, clear water); a plain cloud mask (0 is clear)."""


class MaskOptions(BaseModel):
    """Which observations a quality band lets through. Give a preset, or one of `keep`, `drop`, `bits`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    band: Band = Field(description="Number of the quality band, or its name in the file name's {band} part.")
    preset: Literal["", "scl", "qa_pixel", "fmask", "flag"] = Field("", description="The quality band of a known product.")
    keep: list[int] = Field(default_factory=list, description="Values that are good.")
    drop: list[int] = Field(default_factory=list, description="Values that are bad.")
    bits: list[int] = Field(default_factory=list, description="Bits that are 0 in a good pixel, counted from 0.")

    @model_validator(mode="after")
    def _one_rule(self) -> MaskOptions:
        if sum(bool(rule) for rule in (self.preset, self.keep, self.drop, self.bits)) != 1:
            raise ValueError("give a preset, or one of keep, drop and bits")
        if any(not 0 <= bit <= 31 for bit in self.bits):
            raise ValueError("bits are counted from 0 to 31")
        return self

    def rule(self) -> dict[str, list[int]]:
        """The rule, with a preset spelled out."""
        return PRESETS[self.preset] if self.preset else {"keep": self.keep, "drop": self.drop, "bits": self.bits}


class TrendOptions(Options):
    """Options of a trend run. Slopes are per year of 365.25 days."""

    band: Band = Field(1, description="The band whose trend is wanted, where no expression is given.")
    expression: str = Field(
        "",
        max_length=500,
        description="What to compute of each date, as (b4-b3)/(b4+b3), or an index by name: ndvi, evi, nbr ...",
    )
    bands: dict[str, Band] = Field(
        default_factory=dict, description="Names for the expression: {'nir': 4, 'red': 3}; b1, b2 ... are always there."
    )
    mask: MaskOptions | None = Field(None, description="Quality band: observations it does not let through do not count.")
    pattern: str = Field(
        "", max_length=200, description="Where the file name says the date (and band): *_{YYYY}-{MM}-{DD}_{band}.tif"
    )
    scale: float | None = Field(None, description="Value = stored x scale + offset; overrides what the files say.")
    offset: float | None = Field(None, description="See scale.")
    stac_scale: bool = Field(
        False, description="Take scale and offset from the STAC items, where the file has none and the options say none."
    )
    nodata: float | None = Field(None, description="The stored value that means nothing; overrides what the files say.")
    valid_min: float | None = Field(None, description="Values below do not count (after scale, offset and expression).")
    valid_max: float | None = Field(None, description="Values above do not count.")
    start: date | None = Field(None, description="Dates before do not count.")
    end: date | None = Field(None, description="Dates after do not count.")
    epoch: date | None = Field(None, description="The day at which the intercept is given; the first date by default.")
    grid: Literal["refuse", "first", "union"] = Field(
        "refuse", description="Rasters on different grids: refuse them, or reproject them to the first one's or to the union."
    )
    resampling: Literal["nearest", "bilinear", "cubic", "average"] = Field(
        "nearest", description="How values are reprojected; quality bands always take the nearest."
    )
    min_observations: int = Field(3, ge=2, le=4096, description="Pixels with fewer valid dates get no trend.")
    harmonics: int = Field(0, ge=0, le=3, description="Yearly cycles fitted beside the trend: 1 a year, 2 and 1, ...")
    robust: bool = Field(False, description="Mann-Kendall test and Theil-Sen slope as well.")
    block: Literal[128, 256, 512, 1024] = Field(256, description="Pixels a side of the blocks of the result.")
    window: int = Field(
        0,
        ge=0,
        le=8192,
        description="Pixels a side of a unit of work, a multiple of block; 0 chooses. Results do not depend on it.",
    )
    precision: Literal["float64", "float32"] = Field("float64", description="Of the numbers in the result.")
    alpha: float = Field(0.05, gt=0, lt=1, description="Trends with a p-value below are called significant.")
    series: int = Field(6, ge=0, le=12, description="How many of the strongest pixels are plotted.")

    @field_validator("expression")
    @classmethod
    def _readable(cls, text: str) -> str:
        try:
            expression.parse(text)
        except BadInput as error:
            raise ValueError(str(error)) from None
        return text

    @field_validator("scale")
    @classmethod
    def _some_scale(cls, scale: float | None) -> float | None:
        if scale == 0:
            raise ValueError("a scale of 0 leaves no values")
        return scale

    @field_validator("pattern")
    @classmethod
    def _template(cls, text: str) -> str:
        if text:
            Template(text)
        return text

    @model_validator(mode="after")
    def _fits(self) -> TrendOptions:
        if self.window % self.block:
            raise ValueError(f"window {self.window} must be a multiple of block {self.block}")
        if self.start and self.end and self.end < self.start:
            raise ValueError(f"end {self.end} is before start {self.start}")
        return self

    @property
    def quantity(self) -> str:
        """What the trend is of, in a word: an expression, the name of a band, or `value`."""
        return self.expression or (self.band if isinstance(self.band, str) else "value")
