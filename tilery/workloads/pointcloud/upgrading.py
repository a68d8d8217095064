"""Point formats 0 to 5 as formats 6 to 10 of LAS 1.4, which hold 256 classes: records, and back to prove it; and the header.

Every field is carried over. Scan angles become units of 0.006 degrees; legacy counts become 0, as 1.4 wants it, and points of
each return are counted anew, as old headers know of five returns only; GeoTIFF keys are joined by the same system as WKT.

Source: ASPRS LAS 1.4-R15, "Point data record formats", "Public header block", "Coordinate reference systems".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace

import lazrs
import numpy as np
from numpy.typing import NDArray

from tilery.run import Source
from tilery.store.port import Store
from tilery.workloads.pointcloud import laz
from tilery.workloads.pointcloud.crs import KEYS, USER_ID, WKT, WKT_IS_MEANT, read_crs
from tilery.workloads.pointcloud.las_header import HEADER_SIZES, RECORD_SIZES, LasFile
from tilery.workloads.pointcloud.points import Records, record_dtype

UPGRADED = (6, 6, 7, 7, 9, 10)
"""The format that has a place for everything of formats 0 to 5."""
VERSION = (1, 4)
STREAMED_CHUNK = 50_000
"""Points a chunk of a file whose chunks could not be used."""
SCAN_ANGLE = 0.006
"""Degrees of a unit in formats 6 to 10; whole degrees before."""
ENCODED = {0: 0, 1: 0, 2: 0b1, 3: 0b1111, 4: 0b1_1111}
"""Bits of the global encoding that mean something, by minor version; the others may hold anything."""
VLR_HEAD = 54
WAVEFORMS_AT = 227
"""Offset in the header of "start of waveform data packet record" (LAS 1.3 and later)."""
_CHUNK_SIZE_AT = 12
"""Offset of the points a chunk in the laszip record."""
_OTHERWISE = frozenset({"bit_fields", "classification", "classification_flags", "scan_angle"})
"""Fields that formats 0 to 5 keep in another way, or not at all."""


def carry_over(records: Records, point_format: int, out: Records) -> None:
    """Give every field of `out`, of a format from 6 on, the value that `records` have; what they lack stays as it is.

    Extra bytes are left to the caller.
    """
    fields = set(out.dtype.names or ()) & set(records.dtype.names or ()) - {"extra_bytes"}
    for name in fields if point_format >= 6 else fields - _OTHERWISE:
        out[name] = records[name]
    if point_format >= 6:
        return
    bits, raw = records["bit_fields"], records["raw_classification"]
    out["bit_fields"] = (bits & 0b111) | (bits & 0b11_1000) << 1
    out["classification_flags"] = (raw >> 5) | (bits & 0b1100_0000)
    out["classification"] = raw & 0b1_1111
    out["scan_angle"] = np.rint(records["scan_angle_rank"] / SCAN_ANGLE)


def encoding_of(file: LasFile) -> int:
    """The global encoding as a later version is to read it."""
    return file.global_encoding & ENCODED[file.version[1]]


def is_upgrade(old: LasFile, new: LasFile) -> bool:
    """Whether `new` has the version and the format that `old` is given when it is upgraded."""
    return (
        old.point_format < 6
        and (new.version, new.point_format) == (VERSION, UPGRADED[old.point_format])
        and new.extra_bytes == old.extra_bytes
    )


def written_as(file: LasFile, upgrade: bool) -> LasFile:
    """A file as its points are written: of another format, if it is to be upgraded and can be. Its header is the old one."""
    if not upgrade or file.point_format >= 6:
        return file
    point_format = UPGRADED[file.point_format]
    laszip = None
    if file.laszip is not None:
        size = STREAMED_CHUNK if file.slow else file.laszip.chunk_size
        made = lazrs.LazVlr.new_for_compression(point_format, file.extra_bytes, size == laz.VARIABLE)
        data = bytearray(made.record_data())
        struct.pack_into("<I", data, _CHUNK_SIZE_AT, size)
        laszip = laz.parse_vlr(bytes(data))
    return replace(
        file,
        version=VERSION,
        global_encoding=encoding_of(file),
        point_format=point_format,
        point_size=RECORD_SIZES[point_format] + file.extra_bytes,
        laszip=laszip,
        slow="",
    )


@dataclass
class Upgrade:
    """How records of one file are written: as they are, or in another format, with how many there are of each return."""

    old: LasFile
    new: LasFile
    """As `written_as` gives it."""
    returns: NDArray[np.int64] = field(default_factory=lambda: np.zeros(16, np.int64))

    @classmethod
    def of(cls, file: LasFile, wanted: bool = False) -> Upgrade:
        return cls(file, written_as(file, wanted))

    @property
    def is_one(self) -> bool:
        return self.old.point_format != self.new.point_format

    def upgraded(self, raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The bytes of records in the new format; their returns are counted."""
        if not self.is_one:
            return raw
        out = upgraded(self.old, self.new, raw.view(record_dtype(self.old)))
        self.returns += np.bincount(out["bit_fields"] & 0b1111, minlength=16)
        return out.view(np.uint8)


def upgraded(old: LasFile, new: LasFile, records: Records) -> Records:
    """Records in the new format."""
    out = np.zeros(len(records), record_dtype(new))
    carry_over(records, old.point_format, out)
    if old.extra_bytes:
        out["extra_bytes"] = records["extra_bytes"]
    return out


def downgraded(old: LasFile, records: Records) -> Records:
    """Records of the upgraded file as they were, but for classes above 31, of which the low five bits are left."""
    out = np.zeros(len(records), record_dtype(old))
    for name in set(out.dtype.names or ()) & set(records.dtype.names or ()) - {"bit_fields"}:
        out[name] = records[name]
    bits, flags = records["bit_fields"], records["classification_flags"]
    out["bit_fields"] = (bits & 0b111) | ((bits >> 4) & 0b111) << 3 | (flags & 0b1100_0000)
    out["raw_classification"] = (records["classification"] & 0b1_1111) | (flags & 0b111) << 5
    out["scan_angle_rank"] = np.rint(records["scan_angle"] * SCAN_ANGLE)
    return out


def with_head(store: Store, source: Source, file: LasFile, new: LasFile, returns: NDArray[np.int64]) -> LasFile:
    """`new` (of `written_as`) with a header and VLRs of LAS 1.4. Offsets behind the points are those of the old file."""
    vlrs, wkt_is_meant = _vlrs(store, source, file, new)
    last = file.vlrs[-1].at + len(file.vlrs[-1].data) if file.vlrs else file.header_size
    behind = b"".join(vlrs) + file.head[last:]
    more = file.head[HEADER_SIZES[file.version[1]] : file.header_size]
    size = HEADER_SIZES[VERSION[1]] + len(more)
    encoding = encoding_of(file) & ~WKT_IS_MEANT | (WKT_IS_MEANT if wkt_is_meant else 0)
    old = file.head
    head = old[:6] + struct.pack("<H", encoding) + old[8:24] + bytes(VERSION) + old[26:94]
    head += struct.pack("<HII", size, size + len(behind), len(vlrs))
    head += struct.pack("<BH24x", new.point_format | old[104] & 0xC0, new.point_size) + old[131:227]
    evlrs_at = file.evlrs[0].start if file.evlrs else 0
    head += old[WAVEFORMS_AT : WAVEFORMS_AT + 8] if file.version >= (1, 3) else bytes(8)
    head += struct.pack("<QIQ15Q", evlrs_at, len(file.evlrs), file.count, *returns[1:].tolist())
    head += more + behind
    return replace(new, header_size=size, offset_to_points=len(head), head=head)


def _vlrs(store: Store, source: Source, file: LasFile, new: LasFile) -> tuple[list[bytes], bool]:
    """The records of the header, and whether the CRS is to be read from WKT."""
    vlrs = []
    for vlr in file.vlrs:
        raw = file.head[vlr.at - VLR_HEAD : vlr.at + len(vlr.data)]
        if new.laszip is not None and (vlr.user_id, vlr.record_id) == (laz.USER_ID, laz.RECORD_ID):
            raw = raw[:20] + struct.pack("<H", len(new.laszip.data)) + raw[22:VLR_HEAD] + new.laszip.data
        vlrs.append(raw)
    known = read_crs(store, source, file)
    meant = replace(file, global_encoding=encoding_of(file) | WKT_IS_MEANT)
    if file.vlr(USER_ID, WKT) or file.evlr(USER_ID, WKT):
        return vlrs, read_crs(store, source, meant).same_as(known)
    if known.wkt is None:
        return vlrs, file.vlr(USER_ID, KEYS) is None
    data = known.wkt.encode() + b"\0"
    return [*vlrs, struct.pack("<H16sHH32s", 0, USER_ID.encode(), WKT, len(data), b"") + data], True
