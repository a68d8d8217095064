"""One raster of many: a virtual mosaic (VRT) of the sheets of a product, which GDAL and every GIS on it open as one.

Source: the GDAL VRT driver's documentation. Paths are relative, so that the mosaic moves with its sheets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from tilery.workloads.pointcloud.rasters import NODATA, STORED, Sheet


@dataclass(frozen=True, slots=True)
class Look:
    """What the bands of a product are."""

    dtype: str
    nodata: float
    bands: tuple[str, ...] = ("",)
    """What each is of."""
    colours: tuple[str, ...] = ("Gray",)


HEIGHTS = Look("Float32", NODATA)
DENSITY = Look("Float32", NODATA, ("points per m2", "ground points per m2"), ("Gray", "Undefined"))
COLOUR = Look("Byte", 0, ("", "", ""), ("Red", "Green", "Blue"))
GREY = Look("Byte", 0)


def mosaic(whole: Sheet, look: Look, parts: Sequence[tuple[str, Sheet]]) -> bytes:
    """The VRT of an area from (path, sheet) of its parts."""
    extent, edge = whole.extent, whole.transform
    lines = [f'<VRTDataset rasterXSize="{extent.width}" rasterYSize="{extent.height}">']
    if whole.crs_wkt:
        lines.append(f'  <SRS dataAxisToSRSAxisMapping="1,2">{escape(whole.crs_wkt, quote=False)}</SRS>')
    numbers = (edge.c, edge.a, edge.b, edge.f, edge.d, edge.e)
    lines.append(f"  <GeoTransform>{', '.join(repr(float(number)) for number in numbers)}</GeoTransform>")
    for band, (name, colour) in enumerate(zip(look.bands, look.colours, strict=True), 1):
        lines.append(f'  <VRTRasterBand dataType="{look.dtype}" band="{band}">')
        if name:
            lines.append(f"    <Description>{escape(name, quote=False)}</Description>")
        lines.append(f"    <NoDataValue>{look.nodata:g}</NoDataValue>")
        lines.append(f"    <ColorInterp>{colour}</ColorInterp>")
        for path, sheet in parts:
            lines += _source(path, band, look, sheet, whole)
        lines.append("  </VRTRasterBand>")
    return "\n".join([*lines, "</VRTDataset>", ""]).encode()


def _source(path: str, band: int, look: Look, sheet: Sheet, whole: Sheet) -> list[str]:
    width, height = sheet.extent.width, sheet.extent.height
    to = whole.place(sheet.extent)
    shape = f'RasterXSize="{width}" RasterYSize="{height}" DataType="{look.dtype}" BlockXSize="{STORED}" BlockYSize="{STORED}"'
    return [
        "    <SimpleSource>",
        f'      <SourceFilename relativeToVRT="1">{escape(path, quote=False)}</SourceFilename>',
        f"      <SourceBand>{band}</SourceBand>",
        f"      <SourceProperties {shape}/>",
        f'      <SrcRect xOff="0" yOff="0" xSize="{width}" ySize="{height}"/>',
        f'      <DstRect xOff="{to.col_off}" yOff="{to.row_off}" xSize="{width}" ySize="{height}"/>',
        "    </SimpleSource>",
    ]
