"""A large LAZ file made of shifted copies of a real one, in seconds: a layered chunk moves with its first point.

Positions after the first point of a chunk are stored as differences (formats 6 to 10), so that a copy of all chunks, each with
another first point, is the same survey somewhere else.
"""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

from tilery.run import Source
from tilery.store.directory import DirectoryStore
from tilery.workloads.pointcloud import laz
from tilery.workloads.pointcloud.las_header import LasFile, read_las


def write_mosaic(source: Path, target: Path, columns: int, rows: int = 1) -> int:
    """Write columns x rows copies of a layered LAZ file side by side; returns how many points they have together.

    Of all copies but the last the shorter chunk at the end is left out, as only the last chunk of a file may be shorter.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = read_las(DirectoryStore(Path(folder)), show(Path(folder), source))
    assert file.laszip is not None
    assert file.laszip.layered
    data = source.read_bytes()
    steps = [int((high - low) / abs(scale)) + 1 for low, high, scale in zip(file.mins, file.maxs, file.scales, strict=True)]
    table: list[tuple[int, int]] = []
    with target.open("wb") as out:
        out.write(file.head + bytes(8))
        for copy in range(columns * rows):
            full = file.chunks if copy == columns * rows - 1 else file.chunks[:-1]
            for chunk in full:
                x, y = struct.unpack_from("<ii", data, chunk.start)
                moved = struct.pack("<ii", x + copy % columns * steps[0], y + copy // columns * steps[1])
                out.write(moved + data[chunk.start + 8 : chunk.stop])
                table.append((chunk.points, chunk.stop - chunk.start))
        table_at = out.tell()
        out.write(laz.format_chunk_table(table, file.laszip) + data[file.tail_start :])
        out.seek(0)
        count = sum(points for points, _ in table)
        out.write(_head(file, count, (columns, rows), table_at) + struct.pack("<q", table_at))
    return count


def show(root: Path, path: Path) -> Source:
    """A local file as an object of a store."""
    link = root / "drop" / "mosaic" / path.name
    link.parent.mkdir(parents=True)
    link.symlink_to(path.resolve())
    return Source(name=path.name, key=f"drop/mosaic/{path.name}", size=path.stat().st_size, version="")


def _head(file: LasFile, count: int, copies: tuple[int, int], table_at: int) -> bytes:
    head = bytearray(file.head)
    struct.pack_into("<II", head, 107, count, count)
    struct.pack_into("<Q", head, 247, count)
    for axis, number in enumerate(copies):
        wide = (number - 1) * (int((file.maxs[axis] - file.mins[axis]) / abs(file.scales[axis])) + 1) * abs(file.scales[axis])
        struct.pack_into("<d", head, 179 + 16 * axis, file.maxs[axis] + wide)
    if file.evlrs:
        moved = table_at + (file.evlrs[0].start - file.chunk_table[0])
        struct.pack_into("<Q", head, 235, moved)
    return bytes(head)
