"""Records of files of any format, scale and extra bytes as records of one file, of a layered format, as COPC wants it."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import laspy
import numpy as np
from numpy.typing import NDArray

from tilery.outcomes import BadInput
from tilery.workloads.pointcloud.columns import COLOURED
from tilery.workloads.pointcloud.las_header import LasFile
from tilery.workloads.pointcloud.points import Records
from tilery.workloads.pointcloud.upgrading import carry_over, encoding_of

SPEC, EXTRA_BYTES = "LASF_Spec", 4
DESCRIBED = 192
"""Bytes of the description of an extra dimension."""
WAVEFORMS = (4, 5, 9, 10)
INFRARED, TIMELESS = 8, (0, 2)
MOST = 2**31 - 1
MOST_UNDOCUMENTED = 255
"""Bytes that one description without a type can stand for."""
_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
_NOTHING, _LOW, _HIGH, _SCALE, _OFFSET = (slice(at, at + 24) for at in (40, 64, 88, 112, 136))
_HAS_NOTHING, _HAS_EDGES, _HAS_SCALE, _HAS_OFFSET = 1, 0b110, 8, 16


@dataclass(frozen=True, slots=True)
class Dimension:
    """An extra dimension: its description as it stands in the file, and its bytes in a record."""

    described: bytes
    size: int
    number: int = 0
    """How many of the same name stand before it in its file."""

    @property
    def name(self) -> str:
        return self.described[4:36].split(b"\0")[0].decode("latin-1")

    @property
    def kind(self) -> int:
        """0 for bytes without a type, then `_TYPES` singly, as pairs, and as triples."""
        return self.described[2]

    @property
    def options(self) -> int:
        return self.described[3] if self.kind else 0

    @property
    def meaning(self) -> tuple[Any, ...]:
        """What the values of two files must have in common to stand in one column."""
        told = (_HAS_NOTHING, _NOTHING), (_HAS_SCALE, _SCALE), (_HAS_OFFSET, _OFFSET)
        return self.kind, self.size, *(self.described[place] if self.options & bit else b"" for bit, place in told)

    @property
    def nothing(self) -> bytes:
        """The value of a point that has none."""
        if not self.options & _HAS_NOTHING:
            return bytes(self.size)
        stored, count = _TYPES[(self.kind - 1) % 10], (self.kind - 1) // 10 + 1
        wide = np.frombuffer(self.described[_NOTHING], f"<{stored[0]}8", count)
        with np.errstate(over="ignore", invalid="ignore"):
            return wide.astype(f"<{stored}").tobytes()

    def without_edges(self) -> Dimension:
        """The same without the smallest and largest value, which are those of one file."""
        if not self.kind:
            return self
        described = bytearray(self.described)
        described[3] &= ~_HAS_EDGES & 0xFF
        described[_LOW] = described[_HIGH] = bytes(24)
        return replace(self, described=bytes(described))


@dataclass(frozen=True, slots=True)
class Union:
    """What all files have in common, or are made to have."""

    point_format: int
    scale: float
    """One for all axes: the finest."""
    offsets: tuple[float, float, float]
    extra: tuple[Dimension, ...]

    @property
    def extra_bytes(self) -> int:
        return sum(dimension.size for dimension in self.extra)

    @property
    def described(self) -> bytes:
        """The data of the record that describes the extra dimensions."""
        return b"".join(dimension.described for dimension in self.extra)

    @property
    def dtype(self) -> np.dtype[Any]:
        fields: list[Any] = [(name, *rest) for name, *rest in laspy.PointFormat(self.point_format).dtype().descr]
        return np.dtype([*fields, ("extra_bytes", "u1", (self.extra_bytes,))] if self.extra else fields)


def union_of(files: Sequence[LasFile]) -> Union:
    """What records of all files can become. Raises `BadInput` naming the file that cannot."""
    timed = [file for file in files if file.point_format not in TIMELESS]
    for file in files:
        if file.point_format in WAVEFORMS:
            raise BadInput(f"{file.name} has waveforms, for which COPC has no place: leave out the product copc")
    for file in timed:
        if (encoding_of(file) ^ encoding_of(timed[0])) & 1:
            raise BadInput(f"{file.name} and {timed[0].name} tell GPS time in two ways: leave out the product copc")
    formats = {file.point_format for file in files}
    point_format = 8 if INFRARED in formats else 7 if formats & set(COLOURED) else 6
    scale = min(abs(value) for file in files for value in file.scales)
    same = len({file.offsets for file in files}) == 1
    low, high = (
        [pick(getattr(file, name)[axis] for file in files) for axis in range(3)]
        for pick, name in ((min, "mins"), (max, "maxs"))
    )
    middle = [float(round((below + above) / 2)) for below, above in zip(low, high, strict=True)]
    x, y, z = files[0].offsets if same else middle
    for axis, offset in enumerate((x, y, z)):
        if max(abs(low[axis] - offset), abs(high[axis] - offset)) / scale > MOST:
            raise BadInput(
                f"{files[0].name} and the files beside it spread too far for one file of scale {scale:g}: "
                "leave out the product copc, or drop parts of the area apart"
            )
    return Union(point_format, scale, (x, y, z), _extra_of(files))


def _extra_of(files: Sequence[LasFile]) -> tuple[Dimension, ...]:
    """The extra dimensions of all files, by name."""
    found: dict[tuple[str, int], Dimension] = {}
    for file in files:
        for dimension in dimensions(file):
            key = dimension.name, dimension.number
            known = found.setdefault(key, dimension)
            if known.meaning != dimension.meaning:
                raise BadInput(
                    f"{file.name} has an extra dimension {dimension.name!r} of another type or scale than a file before: "
                    "leave out the product copc, or drop these files apart"
                )
            if known.described != dimension.described:
                found[key] = known.without_edges()
    return tuple(found.values())


def dimensions(file: LasFile) -> list[Dimension]:
    """The extra dimensions of a file, in the order of their bytes; bytes that nothing describes are some without a type."""
    found, left = list[Dimension](), file.extra_bytes
    data = b"".join(vlr.data for vlr in file.vlrs if (vlr.user_id, vlr.record_id) == (SPEC, EXTRA_BYTES))
    seen: Counter[str] = Counter()
    for at in range(0, len(data) - DESCRIBED + 1, DESCRIBED):
        described = data[at : at + DESCRIBED]
        kind, options = described[2], described[3]
        size = options if kind == 0 else _size_of(kind) if kind <= 3 * len(_TYPES) else left + 1
        if size > left:
            break
        found.append(Dimension(described, size))
        left -= size
    for size in [MOST_UNDOCUMENTED] * (left // MOST_UNDOCUMENTED) + [left % MOST_UNDOCUMENTED] * (left % MOST_UNDOCUMENTED > 0):
        found.append(Dimension(struct.pack("<2xBB32s156x", 0, size, b"undocumented"), size))
    for index, dimension in enumerate(found):
        found[index] = replace(dimension, number=seen[dimension.name])
        seen[dimension.name] += 1
    return found


def _size_of(kind: int) -> int:
    return int(_TYPES[(kind - 1) % len(_TYPES)][1]) * ((kind - 1) // len(_TYPES) + 1)


def unified(file: LasFile, records: Records, union: Union) -> Records:
    """The records of a file as the union has them. Raises `BadInput` where a coordinate does not fit."""
    out = np.zeros(len(records), union.dtype)
    carry_over(records, file.point_format, out)
    for axis, name in enumerate("XYZ"):
        out[name] = _moved(file, axis, records[name], union)
    if union.extra:
        at, places = 0, {}
        for dimension in dimensions(file):
            places[dimension.name, dimension.number] = slice(at, at + dimension.size)
            at += dimension.size
        at = 0
        for dimension in union.extra:
            place = places.get((dimension.name, dimension.number))
            mine = np.frombuffer(dimension.nothing, np.uint8) if place is None else records["extra_bytes"][:, place]
            out["extra_bytes"][:, at : at + dimension.size] = mine
            at += dimension.size
    return out


def _moved(file: LasFile, axis: int, stored: NDArray[np.int32], union: Union) -> NDArray[np.int64]:
    """Coordinates in the union's scale and offset: exact where that is possible, else to the nearest."""
    scale, offset, new, start = (
        Fraction(repr(float(value))) for value in (file.scales[axis], file.offsets[axis], union.scale, union.offsets[axis])
    )
    factor, add = scale / new, (offset - start) / new
    if factor.denominator == add.denominator == 1 and abs(factor) < 2**31 and abs(add) < 2**62:
        moved = stored.astype(np.int64) * int(factor) + int(add)
    else:
        moved = np.rint(stored.astype(np.float64) * float(factor) + float(add)).astype(np.int64)
    if moved.size and max(abs(int(moved.min())), abs(int(moved.max()))) > MOST:
        raise BadInput(f"{file.name} has coordinates that do not fit into one file of scale {union.scale:g} with the others")
    return moved
