"""LAS and LAZ files made to order: any point format, random fields, any chunks, extra bytes, VLRs and EVLRs.

`laz_of` is the tests' own whole-file compressor: what sharded rewriting must equal, byte for byte.
"""

import io
import struct
from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path

import laspy
import lazrs
import numpy as np

from tilery.run import Source
from tilery.store.directory import DirectoryStore
from tilery.workloads.pointcloud.las_header import LasFile, read_las
from tilery.workloads.pointcloud.rewrite import rewrite_shard
from tilery.workloads.pointcloud.shards import Shard, shards_of
from tilery.workloads.pointcloud.stitch import ShardOutput, segments_of

WKT = 'PROJCS["WGS 84 / UTM zone 32N",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]],PROJECTION["Transverse_Mercator"],PARAMETER["latitude_of_origin",0],PARAMETER["central_meridian",9],PARAMETER["scale_factor",0.9996],PARAMETER["false_easting",500000],PARAMETER["false_northing",0],UNIT["metre",1],AUTHORITY["EPSG","32632"]]'  # noqa: E501


def las_of(
    point_format: int,
    count: int = 1_700,
    *,
    seed: int = 0,
    version: str | None = None,
    extra: bool = False,
    evlr: bytes | None = None,
    padding: int = 0,
    channels: bool = False,
) -> bytes:
    """An uncompressed file with random bytes in every field; plausible coordinates, so that coders have work to do."""
    header = laspy.LasHeader(point_format=point_format, version=version)
    header.scales, header.offsets = np.array([0.01, 0.01, 0.001]), np.array([500_000.0, 5_000_000.0, 100.0])
    header.creation_date = date(2019, 2, 3)
    header.generating_software, header.system_identifier = "a scanner's own", "serial 17"
    header.global_encoding.value = 0b1_0001 if header.version.minor == 4 else 0b1
    header.vlrs.append(laspy.VLR("someone", 77, "kept as it is", bytes(range(50))))
    if header.version.minor == 4:
        header.vlrs.append(laspy.vlrs.known.WktCoordinateSystemVlr(WKT))
    if extra:
        header.add_extra_dim(laspy.ExtraBytesParams("height", "int32", scales=np.array([0.001]), offsets=np.array([5.0])))
        header.add_extra_dim(laspy.ExtraBytesParams("normal", "3f4"))
        header.add_extra_dim(laspy.ExtraBytesParams("flag", "uint8"))
    rng = np.random.default_rng(seed)
    size = header.point_format.size
    rows = rng.integers(0, 256, (count, size), dtype=np.uint8)
    xyz = np.cumsum(rng.integers(-300, 300, (count, 3)), axis=0).astype("<i4")
    rows[:, :12] = xyz.view(np.uint8).reshape(count, 12)
    if point_format >= 9 and not channels:
        rows[:, 15] &= 0b1100_1111  # lazrs 0.8.2 writes waveforms of several scanner channels wrongly
    las = laspy.LasData(header)
    las.points = laspy.ScaleAwarePointRecord(
        np.frombuffer(rows.tobytes(), header.point_format.dtype()).copy(), header.point_format, header.scales, header.offsets
    )
    if evlr is not None:
        las.evlrs = laspy.vlrs.vlrlist.VLRList([laspy.VLR("someone", 99, "extended", evlr)])
    out = io.BytesIO()
    las.write(out, do_compress=False)
    data = out.getvalue()
    return _padded(data, padding) if padding else data


def records_of(las: bytes) -> np.ndarray:
    """The record bytes of an uncompressed file, shape (points, record size)."""
    (start,) = struct.unpack_from("<I", las, 96)
    (size,) = struct.unpack_from("<H", las, 105)
    count = count_of(las)
    return np.frombuffer(las, np.uint8, count * size, start).reshape(count, size).copy()


def count_of(las: bytes) -> int:
    return struct.unpack_from("<Q", las, 247)[0] if las[25] == 4 else struct.unpack_from("<I", las, 107)[0]


def with_labels(las: bytes, labels: np.ndarray) -> bytes:
    """An uncompressed file with other classes, field by field through laspy's names."""
    rows = records_of(las)
    view = rows.view(laspy.PointFormat(las[104] & 0x3F).dtype() if rows.shape[1] == _bare(las) else _wide(las)).reshape(-1)
    if (las[104] & 0x3F) < 6:
        view["raw_classification"] = (view["raw_classification"] // 32) * 32 + labels
    else:
        view["classification"] = labels
    (start,) = struct.unpack_from("<I", las, 96)
    return las[:start] + rows.tobytes() + las[start + rows.size :]


def laz_of(las: bytes, chunks: int | Sequence[int] = 500, *, empty_end: bool = False) -> bytes:
    """An uncompressed file compressed whole: chunks of a fixed number of points, or of these numbers."""
    (start,) = struct.unpack_from("<I", las, 96)
    header_size = struct.unpack_from("<H", las, 94)[0]
    rows = records_of(las)
    extra = rows.shape[1] - _bare(las)
    made = lazrs.LazVlr.new_for_compression(las[104] & 0x3F, extra, not isinstance(chunks, int))
    data = bytearray(made.record_data())
    if isinstance(chunks, int):
        struct.pack_into("<I", data, 12, chunks)
    vlr = lazrs.LazVlr(bytes(data))
    record = struct.pack("<H16sHH32s", 0, b"laszip encoded", 22204, len(data), b"") + bytes(data)

    head = bytearray(las[:start])
    head[104] |= 0x80
    struct.pack_into("<I", head, 96, start + len(record))
    struct.pack_into("<I", head, 100, struct.unpack_from("<I", head, 100)[0] + 1)
    # the record goes first, so that padding stays before the points
    head[header_size:header_size] = record

    body = io.BytesIO()
    # the sequential compressor ends variable chunks with an empty one, as some writers do
    compressor = (lazrs.LasZipCompressor if empty_end else lazrs.ParLasZipCompressor)(body, vlr)
    if isinstance(chunks, int):
        compressor.compress_many(rows.reshape(-1))
        compressor.done()
    else:
        assert sum(chunks) == len(rows)
        edges = np.cumsum([0, *chunks])
        compressor.compress_chunks([rows[a:b].reshape(-1) for a, b in pairwise(edges)])
        compressor.done()
    points = bytearray(body.getvalue())
    struct.pack_into("<q", points, 0, struct.unpack_from("<q", points)[0] + len(head))
    tail = las[start + rows.size :]
    if las[25] == 4 and struct.unpack_from("<I", head, 243)[0]:
        struct.pack_into("<Q", head, 235, len(head) + len(points))
    if las[25] >= 3 and struct.unpack_from("<Q", head, 227)[0]:
        moved = struct.unpack_from("<Q", head, 227)[0] - start - rows.size
        struct.pack_into("<Q", head, 227, len(head) + len(points) + moved)
    return bytes(head) + bytes(points) + tail


def stored(tmp: Path, data: bytes, name: str = "some.laz") -> tuple[DirectoryStore, Source]:
    """A store that holds these bytes, and the source that pins them."""
    store = DirectoryStore(tmp)
    key = f"drop/acme/pointcloud/{name}"
    store.put(key, data)
    entry = store.head(key)
    assert entry is not None
    return store, Source(name=name, key=key, size=entry.size, version=entry.version)


def rewritten(
    store: DirectoryStore,
    source: Source,
    labels: np.ndarray,
    *,
    file: LasFile | None = None,
    shards: Sequence[Shard] | None = None,
) -> Source:
    """The whole way: every shard with new labels, then composed; returns the output as a source."""
    file = file or read_las(store, source)
    outputs = []
    for shard in shards or shards_of(file):
        key = f"work/acme/finish/{shard.id}"
        with store.writer(key) as out:
            chunks = rewrite_shard(store, source, file, shard, labels[shard.first : shard.first + shard.count], out)
        entry = store.head(key)
        assert entry is not None
        outputs.append(ShardOutput(key, entry.size, chunks))
    key = f"results/acme/pointcloud/{source.name}"
    store.compose(key, segments_of(store, source, file, outputs))
    entry = store.head(key)
    assert entry is not None
    return Source(name=f"output of {source.name}", key=key, size=entry.size, version=entry.version)


def random_labels(count: int, point_format: int, seed: int = 1) -> np.ndarray:
    """Labels in runs, as classes are, over all that the format can hold."""
    rng = np.random.default_rng(seed)
    return np.repeat(rng.integers(0, 32 if point_format < 6 else 256, count), 3)[:count].astype(np.uint8)


def _bare(las: bytes) -> int:
    return laspy.PointFormat(las[104] & 0x3F).size


def _wide(las: bytes) -> np.dtype:
    (size,) = struct.unpack_from("<H", las, 105)
    dtype = laspy.PointFormat(las[104] & 0x3F).dtype()
    return np.dtype([*dtype.descr, ("rest", "u1", (size - dtype.itemsize,))])


def _padded(las: bytes, padding: int) -> bytes:
    (start,) = struct.unpack_from("<I", las, 96)
    head = bytearray(las[:start]) + b"\xdd" * padding
    struct.pack_into("<I", head, 96, start + padding)
    if las[25] == 4 and struct.unpack_from("<I", las, 243)[0]:
        struct.pack_into("<Q", head, 235, struct.unpack_from("<Q", las, 235)[0] + padding)
    return bytes(head) + las[start:]
