"""What one run is: its identity, its pinned inputs, its options; and the record that is published as run.json."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 1
Status = Literal["SUCCEEDED", "PARTIAL", "FAILED"]


class Source(BaseModel):
    """One input file, pinned. `name` is its path below the drop, `digest` its content once `size` has read it."""

    model_config = ConfigDict(frozen=True)

    name: str
    key: str
    size: int = Field(description="bytes")
    version: str
    digest: str = ""
    sha256: str = Field("", description="what _READY.json says the content is; checked by size")
    refused: str = Field("", description="why its content cannot be read, whatever it is: its name is none that a key may have")


class Trigger(BaseModel):
    """The upload that started the run."""

    model_config = ConfigDict(frozen=True)

    bucket: str
    key: str
    version: str


class Manifest(BaseModel):
    """What intake pinned: written once per run by conditional create."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    tenant: str
    workload: str
    dataset: str
    trigger: Trigger
    sources: list[Source] = []
    options: dict[str, Any] = {}
    received: str = Field(description="ISO 8601, UTC")
    again: dict[str, str] = Field({}, description="stage -> moment at which a redo asked for it to run again")
    period: int = Field(0, description="the days in which finished stages are shared; see manifest.period")
    refused: str = Field("", description="why the drop cannot be worked on; size then fails with this sentence")


class Estimate(BaseModel):
    """What the run is expected to take, from rates.json."""

    model_config = ConfigDict(frozen=True)

    seconds: float
    dollars: float


class Run(BaseModel):
    """A sized run: all that a worker needs to know. Stored in the work area, read by every nanoservice."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA
    run_id: str
    tenant: str
    workload: str
    dataset: str
    trigger: Trigger
    sources: list[Source]
    options: dict[str, Any]
    fingerprint: str = Field(description="hash of the inputs' names and contents")
    again: dict[str, str] = {}
    code: str = Field("", description="digest of the source that sized the run: an upgrade keeps its folders")
    lane: str
    lane_reason: str
    estimate: Estimate
    counts: dict[str, Any] = Field(description="what size learned: points, files, frames ...")
    facts: dict[str, Any] = Field(description="what the workload's size learned and its later stages read")
    warnings: list[str] = []
    received: str
    version: str


class Product(BaseModel):
    """One published file. `path` is relative to run.json."""

    model_config = ConfigDict(frozen=True)

    kind: str
    path: str
    source: str | None = None
    bytes: int
    digest: dict[str, str] = Field(description="{algorithm, value}")


class Listing(BaseModel):
    """Published files that are too many for run.json: `path`, relative to it, holds a `Product` a line (JSON Lines)."""

    model_config = ConfigDict(frozen=True)

    kind: str
    path: str
    count: int
    bytes: int = Field(description="of the listed files together")


class Timings(BaseModel):
    """Seconds of wall time, whole and per stage."""

    total_s: float
    stages: dict[str, float] = {}


class Record(BaseModel):
    """run.json, written last: its presence says that every product is there."""

    schema_version: int = SCHEMA
    run_id: str
    workload: str
    tenant: str
    dataset: str
    status: Status
    products: list[Product]
    listed: list[Listing] = []
    counts: dict[str, Any] = {}
    options: dict[str, Any] = {}
    lane: str
    lane_reason: str = ""
    device: str
    device_reason: str = ""
    estimate: Estimate
    timings: Timings
    warnings: list[str] = []
    missing: list[str] = Field(default=[], description="tiles that are holes in a PARTIAL product")
    version: str
