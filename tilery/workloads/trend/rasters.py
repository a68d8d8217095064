"""Opens stored rasters: GeoTIFF and JPEG 2000 by range reads of what a window needs, NetCDF and zipped Zarr from a local copy.

Only the driver that the file name says is tried, so that a file cannot pose as another format that opens further files.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from tilery.outcomes import BadInput
from tilery.run import Source
from tilery.store.port import Store
from tilery.store.seekable import Seekable
from tilery.workloads.trend.grid import Box, Grid

DRIVERS = {".tif": "GTiff", ".tiff": "GTiff", ".gtif": "GTiff", ".jp2": "JP2OpenJPEG", ".nc": "netCDF"}
ZARR = ".zarr.zip"
"""A Zarr store (version 2) in one zip file."""
LARGEST_MEMBER = 1 << 30
"""Bytes of one unpacked chunk of a Zarr store: it is decoded whole."""
OUR_NAMES = re.compile(r"^'?(/vsi\S*/)?\d+\.\w+[:,']? ?")
"""What a file is called while GDAL reads it, at the start of what GDAL says."""
HEAD = 1 << 16
"""Bytes at the start of a file that are read at once: headers and most tile indexes."""
SMALL = 1 << 19
"""A file of no more bytes than this is read at once: one request instead of one for the header and one for each block."""
SETTINGS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no listing, no side files
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_NUM_THREADS": "1",
    "GDAL_CACHEMAX": 64,  # MB; every block is used once
}
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)  # what `size` accepted, or asked not to be looked at
Resample = dict[str, Resampling]
RESAMPLING: Resample = {name: Resampling[name] for name in ("nearest", "bilinear", "cubic", "average")}


class RangeFile(Seekable):
    """A stored object as a file; `head` is its beginning, already read. Keeps what went wrong in `failures`: GDAL would only
    say that it could not read."""

    def __init__(self, store: Store, source: Source, head: bytes, failures: list[Exception]) -> None:
        super().__init__(source.size)
        self._store, self._source = store, source
        self._head, self._failures = head, failures

    def fetch(self, start: int, stop: int) -> bytes:
        if stop <= len(self._head):
            return self._head[start:stop]
        try:
            return self._store.get_range(self._source.key, start, stop, version=self._source.version)
        except Exception as error:
            self._failures.append(error)
            return b""


def driver(name: str) -> str:
    return "Zarr" if name.lower().endswith(ZARR) else DRIVERS[Path(name).suffix.lower()]


@contextmanager
def opened(
    store: Store, source: Source, scratch: Path, number: int, variable: str = "", georeferenced: bool = True
) -> Iterator[Any]:
    """The open dataset of a source; `BadInput` names the file if it cannot be read.

    `number` is the source's place in the run: a local copy has its name from there. `variable` is one of a NetCDF or Zarr file.
    Without its georeference a GeoTIFF or JPEG 2000 opens in half the time.
    """
    failures: list[Exception] = []
    with rasterio.Env(**SETTINGS):
        try:
            with _dataset(store, source, scratch, number, variable, georeferenced, failures) as dataset:
                yield dataset
        except RasterioError as error:
            if failures:
                raise failures[0] from error
            raise BadInput(f"{source.name} cannot be read: {_reason(error)}; upload it again or leave it out") from error
        if failures:
            raise failures[0]


def _dataset(
    store: Store,
    source: Source,
    scratch: Path,
    number: int,
    variable: str,
    georeferenced: bool,
    failures: list[Exception],
) -> Any:
    kind = driver(source.name)
    if kind == "netCDF":
        path = _local(store, source, scratch, number)
        return rasterio.open(f'netcdf:"{path}":{variable}' if variable else path, driver=kind)
    if kind == "Zarr":
        path = _local(store, source, scratch, number)
        name = f'ZARR:"/vsizip/{{{path}}}{_zarr_root(path, source)}"'
        return rasterio.open(f"{name}:/{variable}" if variable else name, driver=kind)
    head = store.get_range(source.key, 0, HEAD if source.size > SMALL else source.size, version=source.version)

    def file(*_: Any, **__: Any) -> RangeFile:
        return RangeFile(store, source, head, failures)

    asked = {} if georeferenced else {"GEOREF_SOURCES": "NONE"}
    return rasterio.open(f"{number}{Path(source.name).suffix.lower()}", opener=file, driver=kind, **asked)


def placed(dataset: Any, number: int, first: tuple[int, int], box: Box, into: Any = None) -> tuple[Any, Any]:
    """A band in a box of a grid on which the raster's first pixel is at `first`: values, and whether each is inside the raster
    and not masked by the file; None: all are. Values that are nodata stay among them.

    Where the raster holds all of the box, the values are read into `into` (height, width), if given, and are that array.
    """
    column, row, width, height = box[0] - first[0], box[1] - first[1], box[2], box[3]
    left, top = max(column, 0), max(row, 0)
    right, bottom = min(column + width, dataset.width), min(row + height, dataset.height)
    if (left, top, right, bottom) == (column, row, column + width, row + height):
        return _read(dataset, number, Window(left, top, right - left, bottom - top), into)
    values = np.zeros((height, width), dataset.dtypes[number - 1])
    there = np.zeros((height, width), bool)
    if right > left and bottom > top:
        part = (slice(top - row, bottom - row), slice(left - column, right - column))
        values[part], inside = _read(dataset, number, Window(left, top, right - left, bottom - top))
        there[part] = True if inside is None else inside
    return values, there


def warped(dataset: Any, number: int, grid: Grid, box: Box, resampling: str, nodata: float | None) -> tuple[Any, Any]:
    """The same of a raster that is reprojected to `grid`, to a thousandth of a pixel."""
    hidden = {"nodata": nodata, "src_nodata": nodata} if nodata is not None else {"add_alpha": True}
    column, row, width, height = box
    window = Window(column, row, width, height)
    with WarpedVRT(
        dataset,
        crs=grid.crs,
        transform=grid.affine,
        width=grid.width,
        height=grid.height,
        resampling=RESAMPLING[resampling],
        tolerance=0.001,  # of a pixel; GDAL warps in blocks of the whole grid, so the box does not matter
        **hidden,
    ) as virtual:
        values = virtual.read(number, window=window)
        return values, None if nodata is not None else virtual.read(virtual.count, window=window) > 0


def different(values: NDArray[Any], nodata: float | None) -> NDArray[np.bool_] | None:
    """Where values are not nodata (nor NaN); None: everywhere."""
    if values.dtype.kind == "f":
        there = np.asarray(~np.isnan(values))
        return there if nodata is None else np.asarray(there & (values != values.dtype.type(nodata)))
    limits = np.iinfo(values.dtype)
    if nodata is None or not limits.min <= nodata <= limits.max or nodata != int(nodata):
        return None
    return np.asarray(values != values.dtype.type(int(nodata)))  # compared as floats it would take several times as long


def _read(dataset: Any, number: int, window: Window, into: Any = None) -> tuple[Any, Any]:
    values = dataset.read(number, window=window, out=into)
    masked = MaskFlags.per_dataset in dataset.mask_flag_enums[number - 1]
    return values, dataset.read_masks(number, window=window) > 0 if masked else None


def _local(store: Store, source: Source, scratch: Path, number: int) -> Path:
    path = scratch / f"{number}{Path(source.name).suffix.lower()}"
    if not path.exists():
        store.download(source.key, str(path), version=source.version)
    return path


def _zarr_root(path: Path, source: Source) -> str:
    """The folder of the zip that is the store, with a leading slash; empty if it is all of the zip."""
    try:
        with zipfile.ZipFile(path) as packed:
            members = packed.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise BadInput(f"{source.name} is no zip file, or is cut off; upload it again or leave it out") from None
    names = [member.filename for member in members]
    if any(member.file_size > LARGEST_MEMBER or member.flag_bits & 1 for member in members):
        raise BadInput(f"{source.name} holds a chunk that is encrypted or larger than 1 GiB; write it in smaller chunks")
    if any(name.rsplit("/", 1)[-1] == "zarr.json" for name in names):
        raise BadInput(f"{source.name} is Zarr version 3; write it as version 2 (xarray: to_zarr(zarr_format=2))")
    roots = sorted((name.removesuffix(".zgroup") for name in names if name.rsplit("/", 1)[-1] == ".zgroup"), key=len)
    if not roots:
        raise BadInput(f"{source.name} holds no Zarr group (.zgroup); zip the folder that xarray's to_zarr made")
    return f"/{roots[0]}".rstrip("/")


def _reason(error: Exception) -> str:
    """What GDAL said first; rasterio's own words on top of it are "see previous exception"."""
    first: BaseException = error
    while first.__cause__:
        first = first.__cause__
    text = str(first).strip().splitlines()
    return OUR_NAMES.sub("", text[0]).rstrip(".")[:200] if text else type(first).__name__
