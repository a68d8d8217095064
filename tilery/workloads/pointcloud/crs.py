"""The coordinate reference system of a LAS file, and whether the files of one drop agree on it.

A file may carry it as WKT (VLR or EVLR 2112), as GeoTIFF keys (34735, 34736, 34737), or both; bit 4 of the global
encoding says that WKT is meant. GDAL reads both: the keys through a picture of one pixel that carries them as its tags,
so that user-defined systems and citations are understood as in any GeoTIFF.

Source: ASPRS LAS 1.4-R15, "Coordinate reference systems"; OGC GeoTIFF 1.1.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.io import MemoryFile

from tilery.outcomes import BadInput
from tilery.run import Source
from tilery.store.port import Store
from tilery.workloads.pointcloud.las_header import LasFile

USER_ID = "LASF_Projection"
WKT, KEYS, DOUBLES, TEXT = 2112, 34735, 34736, 34737
LARGEST_WKT = 1 << 20
_VERTICAL_UNIT = re.compile(
    r'(?:VERT_CS|VERTCRS|VERTICALCRS)\[.*?(?:LENGTHUNIT|UNIT)\["[^"]*",\s*([0-9.]+(?:[eE][-+]?\d+)?)', re.DOTALL
)
WKT_IS_MEANT = 0b1_0000


@dataclass(frozen=True)
class Crs:
    """What a file says about its coordinates."""

    wkt: str | None
    """As GDAL writes it; None if the file has no CRS, or one that cannot be understood (see `warning`)."""
    raw: tuple[tuple[int, bytes], ...]
    """The (record id, data) of the CRS records, as they are."""
    warning: str = ""

    @cached_property
    def system(self) -> CRS | None:
        """The CRS for rasterio and everything that it writes."""
        return CRS.from_wkt(self.wkt) if self.wkt else None

    @property
    def geographic(self) -> bool:
        """True for degrees: distances in x and y are then no lengths."""
        return bool(self.system is not None and self.system.is_geographic)

    @property
    def projected(self) -> bool:
        """True for a map projection; false for degrees, for geocentric coordinates, and where nothing is known."""
        return bool(self.system is not None and self.system.is_projected)

    @property
    def metres_per_unit(self) -> float:
        """Metres in one unit of x and y; 1 where the file does not say, or for degrees."""
        if self.system is None or self.geographic:
            return 1.0
        try:
            return float(self.system.linear_units_factor[1])
        except CRSError:
            return 1.0

    @property
    def metres_per_height_unit(self) -> float:
        """Metres in one unit of z: of the vertical CRS where the file has one, else the unit of x and y, as is the custom."""
        found = _VERTICAL_UNIT.search(self.wkt or "")
        return float(found[1]) if found else self.metres_per_unit

    def same_as(self, other: Crs) -> bool:
        """Whether both mean the same system (two files without any do)."""
        if self.system is not None and other.system is not None:
            return bool(self.system == other.system)
        return (self.wkt is None) == (other.wkt is None) and (self.wkt is not None or self.raw == other.raw)


def read_crs(store: Store, source: Source, file: LasFile) -> Crs:
    """The file's CRS. What cannot be understood is a warning, not an error: it is carried over as it is."""
    records = {vlr.record_id: vlr.data for vlr in file.vlrs if vlr.user_id == USER_ID and vlr.data}
    evlr = file.evlr(USER_ID, WKT)
    if evlr is not None and WKT not in records and evlr.stop - evlr.data_start <= LARGEST_WKT:
        records[WKT] = store.get_range(source.key, evlr.data_start, evlr.stop, version=source.version)
    raw = tuple((key, records[key]) for key in (WKT, KEYS, DOUBLES, TEXT) if key in records)
    order = (_from_wkt, _from_keys) if file.global_encoding & WKT_IS_MEANT or KEYS not in records else (_from_keys, _from_wkt)
    for read in order:
        system = read(records)
        if system is not None:
            return Crs(system.to_wkt(), raw)
    said = len(records.get(KEYS, b"")) > 8 or WKT in records  # a key directory of 8 bytes lists no key
    return Crs(None, raw, f"{file.name} has a coordinate system that GDAL cannot read; it is kept as it is." if said else "")


def common_crs(files: Sequence[tuple[str, Crs]]) -> Crs:
    """The CRS that all files (name, CRS) share. Raises `BadInput` naming two files that differ."""
    first_name, first = files[0]
    for name, crs in files[1:]:
        if not crs.same_as(first):
            raise BadInput(
                f"{name} is in {_title(crs)} and {first_name} in {_title(first)}: "
                "the files of one drop must share one coordinate system. Drop them apart, or reproject them first."
            )
    return first


def _title(crs: Crs) -> str:
    if crs.system is None:
        return "an unreadable coordinate system" if crs.warning else "no stated coordinate system"
    code = crs.system.to_epsg()
    if code is not None:
        return f"EPSG:{code}"
    return crs.system.to_wkt().split('"')[1] or "an unnamed coordinate system"


def _from_wkt(records: dict[int, bytes]) -> CRS | None:
    text = records.get(WKT, b"").split(b"\0", 1)[0].decode("utf-8", "replace").strip()
    if not text:
        return None
    try:
        return CRS.from_wkt(text)
    except CRSError:
        return None


def _from_keys(records: dict[int, bytes]) -> CRS | None:
    keys = records.get(KEYS, b"")
    if len(keys) < 16:
        return None
    try:
        tiff = _tiff(keys, records.get(DOUBLES, b""), records.get(TEXT, b""))
        with MemoryFile(tiff, ext=".tif") as memory, memory.open() as picture:
            return picture.crs or None
    except (CRSError, RasterioError):
        return None


def _tiff(keys: bytes, doubles: bytes, text: bytes) -> bytes:
    """A GeoTIFF of one pixel with these keys."""
    (count,) = struct.unpack_from("<H", keys, 6)
    keys = keys[: 8 * (count + 1)]
    tags: list[tuple[int, int, int, bytes]] = [(tag, 3, 1, struct.pack("<HH", value, 0)) for tag, value in _PIXEL]
    tags.append((33550, 12, 3, struct.pack("<3d", 1, 1, 0)))
    tags.append((33922, 12, 6, struct.pack("<6d", 0, 0, 0, 0, 0, 0)))
    tags.append((KEYS, 3, len(keys) // 2, keys))
    if doubles:
        tags.append((DOUBLES, 12, len(doubles) // 8, doubles[: len(doubles) // 8 * 8]))
    if text:  # makers write citations in the letters of their country; rasterio reads UTF-8 and nothing else
        tags.append((TEXT, 2, len(text), text.decode("ascii", "replace").replace("\ufffd", "?").encode()))
    heap_at = 8 + 2 + 12 * len(tags) + 4
    entries, heap = b"", b""
    for tag, kind, number, value in tags:
        if len(value) > 4:
            heap += bytes(-len(heap) % 2)
            value, heap = struct.pack("<I", heap_at + len(heap)), heap + value
        entries += struct.pack("<HHI4s", tag, kind, number, value)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + heap


_PIXEL = ((256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (273, 0), (277, 1), (278, 1), (279, 1))
"""Tags of a picture of one grey byte; its strip is the file's first byte, whatever that is."""
