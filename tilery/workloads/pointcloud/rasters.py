"""Rasters written window by window, north up, as cloud-optimized GeoTIFFs in the units of the CRS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.shutil import copy as copy_raster
from rasterio.transform import Affine
from rasterio.windows import Window as RasterWindow

from tilery.workloads.pointcloud.grid import MM_PER_M, Window, cell_millimetres

NODATA = -9999.0
BLOCK = 1024
"""Cells a side that are worked on at once."""
LEVEL = 4
"""Of deflate: 1 % larger than the usual 6, in two thirds of the time."""
STORED = 512
"""Cells a side that a file keeps together."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """What every raster of a run has in common: the cells that it covers, their size, and the CRS."""

    extent: Window
    resolution_m: float
    crs_wkt: str | None = None
    unit_m: float = 1.0

    @property
    def cell(self) -> float:
        """Side of a cell in the unit of the CRS."""
        return cell_millimetres(self.resolution_m) / MM_PER_M / self.unit_m

    @property
    def cell_m2(self) -> float:
        return (cell_millimetres(self.resolution_m) / MM_PER_M) ** 2

    @property
    def transform(self) -> Affine:
        """From column and row of the raster (row 0 in the north) to the CRS."""
        top = self.extent.y0 + self.extent.height
        return Affine(self.cell, 0, self.extent.x0 * self.cell, 0, -self.cell, top * self.cell)

    def blocks(self) -> Iterator[Window]:
        """The extent cut in blocks of the global grid, whatever the tiles are, so that no product depends on them."""
        extent = self.extent
        for y0 in range(extent.y0 // BLOCK * BLOCK, extent.y0 + extent.height, BLOCK):
            for x0 in range(extent.x0 // BLOCK * BLOCK, extent.x0 + extent.width, BLOCK):
                yield Window(x0, y0, BLOCK, BLOCK).overlap(extent)

    def place(self, window: Window) -> RasterWindow:
        """Where a window of the global grid lies in the raster; it must lie in the extent."""
        column, row = window.x0 - self.extent.x0, self.extent.y0 + self.extent.height - window.y0 - window.height
        return RasterWindow(column, row, window.width, window.height)


class Raster:
    """One raster of a sheet while it is written: windows in any order, never more than one in memory.

    What no window covers is `nodata`. The bytes depend on the values of the cells only, not on the windows they came in.
    """

    def __init__(
        self,
        path: Path,
        sheet: Sheet,
        dtype: str = "float32",
        bands: int = 1,
        nodata: float = NODATA,
        names: tuple[str, ...] = (),
    ) -> None:
        self.path, self.sheet = path, sheet
        self._flat = path.with_suffix(".parts.tif")
        self._predictor = 3 if dtype == "float32" else 2
        extent = sheet.extent
        profile = {"driver": "GTiff", "dtype": dtype, "count": bands, "width": extent.width, "height": extent.height}
        profile |= {"crs": sheet.crs_wkt, "transform": sheet.transform, "nodata": nodata}
        profile |= {"tiled": True, "blockxsize": STORED, "blockysize": STORED, "bigtiff": "if_safer", "sparse_ok": True}
        profile |= {"compress": "zstd", "zstd_level": 1, "interleave": "pixel" if bands == 3 else "band"}
        if bands == 3:
            profile["photometric"] = "rgb"
        self._raster = rasterio.open(self._flat, "w", **profile)
        if bands == 3:
            self._raster.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
        for number, name in enumerate(names, 1):
            self._raster.set_band_description(number, name)

    def write(self, window: Window, values: NDArray[Any]) -> None:
        """Write the part of a window that lies in the extent; `values` is (height, width) or (bands, height, width), row 0 in
        the south."""
        part = window.overlap(self.sheet.extent)
        if not part.width or not part.height:
            return
        rows, columns = part.inside(window)
        cube = values if values.ndim == 3 else values[None]
        self._raster.write(cube[:, rows, columns][:, ::-1], window=self.sheet.place(part))

    def __enter__(self) -> Raster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Turn what was written into the COG, unless something failed."""
        try:
            self._raster.close()
            if kind is None:
                options = {
                    "compress": "deflate",
                    "predictor": self._predictor,
                    "blocksize": STORED,
                    "bigtiff": "if_safer",
                    "level": LEVEL,
                }
                copy_raster(self._flat, self.path, driver="COG", overview_resampling="average", **options)
        finally:
            self._flat.unlink(missing_ok=True)


def read(raster: Any, sheet: Sheet, window: Window, outside: float = NODATA) -> NDArray[Any]:
    """The first band of an open raster of the sheet in a window, row 0 in the south; `outside` where the sheet ends."""
    values: NDArray[Any] = np.full(window.shape, outside, raster.dtypes[0])
    part = window.overlap(sheet.extent)
    if part.width and part.height:
        values[part.inside(window)] = raster.read(1, window=sheet.place(part))[::-1]
    return values
