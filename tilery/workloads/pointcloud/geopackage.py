"""GeoPackages: SQLite databases of points, lines and polygons that every GIS opens, written without a GIS library.

The same features give the same bytes. Source: OGC 12-128r18, GeoPackage 1.3.1, with the extension for R-tree spatial indexes.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS

Kind = Literal["LINESTRING", "POLYGON"]
Column = Literal["INTEGER", "REAL", "TEXT"]
Ring = NDArray[np.float64]
"""Vertices (n, 2) in the unit of the CRS; the first and the last of a closed ring are equal."""

CHANGED = "2000-01-01T00:00:00.000Z"
"""The moment of the last change, which the format demands: fixed, so that the bytes are the same at any time."""
_OWN_SRS = 100_000
_UNDEFINED = -1
_WKB = {"LINESTRING": 2, "POLYGON": 3}
_WORLD = (
    'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],'
    'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433],AUTHORITY["EPSG","4326"]]'
)


@dataclass(frozen=True, slots=True)
class Layer:
    """A table of features."""

    name: str
    kind: Kind
    columns: Mapping[str, Column]
    description: str = ""


class GeoPackage:
    """A GeoPackage while it is written: features go straight to disk."""

    def __init__(self, path: Path, layers: Sequence[Layer], crs_wkt: str | None) -> None:
        path.unlink(missing_ok=True)
        self._layers = {layer.name: layer for layer in layers}
        self._boxes: dict[str, list[float]] = {}
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(f"PRAGMA application_id = {0x47504B47}")
        self._database.execute("PRAGMA user_version = 10301")
        self._database.execute("BEGIN")
        for statement in _TABLES:
            self._database.execute(statement)
        self._srs = self._add_systems(crs_wkt)
        for layer in layers:
            self._add_layer(layer)

    def add(self, layer: str, rings: Sequence[Ring], values: Sequence[Any]) -> None:
        """Add a feature: the vertices of a line, or the rings of a polygon (the outer one first), and a value a column."""
        table = self._layers[layer]
        low, high = rings[0].min(axis=0), rings[0].max(axis=0)
        box = [float(low[0]), float(high[0]), float(low[1]), float(high[1])]
        marks = ",".join("?" * (len(table.columns) + 1))
        names = ",".join(["geom", *(_quoted(name) for name in table.columns)])
        shape = _geometry(table.kind, rings, box, self._srs)
        into = f"INSERT INTO {_quoted(layer)} ({names}) VALUES ({marks})"
        row = self._database.execute(into, [shape, *values]).lastrowid
        self._database.execute(f"INSERT INTO {_quoted(f'rtree_{layer}_geom')} VALUES (?,?,?,?,?)", [row, *box])
        all_ = self._boxes.setdefault(layer, box.copy())
        all_[0::2] = [min(pair) for pair in zip(all_[0::2], box[0::2], strict=True)]
        all_[1::2] = [max(pair) for pair in zip(all_[1::2], box[1::2], strict=True)]

    def __enter__(self) -> GeoPackage:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            for name, (x0, x1, y0, y1) in self._boxes.items():
                extent = "UPDATE gpkg_contents SET min_x = ?, max_x = ?, min_y = ?, max_y = ? WHERE table_name = ?"
                self._database.execute(extent, [x0, x1, y0, y1, name])
            for layer in self._layers:
                for statement in _TRIGGERS:
                    self._database.execute(statement.format(t=layer, index=f"rtree_{layer}_geom"))
            self._database.execute("COMMIT")
        self._database.close()

    def _add_systems(self, crs_wkt: str | None) -> int:
        systems = [
            ("Undefined Cartesian", -1, "NONE", -1, "undefined", "undefined Cartesian coordinate reference system"),
            ("Undefined geographic", 0, "NONE", 0, "undefined", "undefined geographic coordinate reference system"),
            ("WGS 84", 4326, "EPSG", 4326, _WORLD, "longitude/latitude coordinates on the WGS 84 spheroid"),
        ]
        number = _UNDEFINED
        if crs_wkt:
            code = CRS.from_wkt(crs_wkt).to_epsg()
            number = code or _OWN_SRS
            owner = "EPSG" if code else "NONE"
            if number != 4326:
                systems.append((crs_wkt.split('"')[1] or "unnamed", number, owner, number, crs_wkt, ""))
        self._database.executemany("INSERT INTO gpkg_spatial_ref_sys VALUES (?,?,?,?,?,?)", systems)
        return number

    def _add_layer(self, layer: Layer) -> None:
        columns = "".join(f", {_quoted(name)} {kind}" for name, kind in layer.columns.items())
        run = self._database.execute
        run(f"CREATE TABLE {_quoted(layer.name)} (fid INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, geom {layer.kind}{columns})")
        contents = [layer.name, layer.name, layer.description, CHANGED, self._srs]
        run(f"INSERT INTO gpkg_contents VALUES (?,'features',?,?,?,{','.join(['NULL'] * 4)},?)", contents)
        run("INSERT INTO gpkg_geometry_columns VALUES (?,'geom',?,?,0,0)", [layer.name, layer.kind, self._srs])
        run(f"CREATE VIRTUAL TABLE {_quoted(f'rtree_{layer.name}_geom')} USING rtree(id, minx, maxx, miny, maxy)")
        extension = [layer.name, "geom", "gpkg_rtree_index", "http://www.geopackage.org/spec121/#extension_rtree", "write-only"]
        run("INSERT INTO gpkg_extensions VALUES (?,?,?,?,?)", extension)


def _geometry(kind: Kind, rings: Sequence[Ring], box: Sequence[float], srs: int) -> bytes:
    """A GeoPackage geometry: header with envelope, then well-known binary, all little-endian."""
    head = struct.pack("<2sBBi4d", b"GP", 0, 0b011, srs, *box) + struct.pack("<BI", 1, _WKB[kind])
    parts = [struct.pack("<I", len(ring)) + np.ascontiguousarray(ring, "<f8").tobytes() for ring in rings]
    return head + (struct.pack("<I", len(rings)) if kind == "POLYGON" else b"") + b"".join(parts)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_TABLES = (
    "CREATE TABLE gpkg_spatial_ref_sys (srs_name TEXT NOT NULL, srs_id INTEGER NOT NULL PRIMARY KEY, "
    "organization TEXT NOT NULL, organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL, description TEXT)",
    "CREATE TABLE gpkg_contents (table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE, "
    "description TEXT DEFAULT '', last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')), "
    "min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE, srs_id INTEGER, "
    "CONSTRAINT fk_gc_r_srs_id FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id))",
    "CREATE TABLE gpkg_geometry_columns (table_name TEXT NOT NULL, column_name TEXT NOT NULL, "
    "geometry_type_name TEXT NOT NULL, srs_id INTEGER NOT NULL, z TINYINT NOT NULL, m TINYINT NOT NULL, "
    "CONSTRAINT pk_geom_cols PRIMARY KEY (table_name, column_name), CONSTRAINT uk_gc_table_name UNIQUE (table_name), "
    "CONSTRAINT fk_gc_tn FOREIGN KEY (table_name) REFERENCES gpkg_contents(table_name), "
    "CONSTRAINT fk_gc_srs FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys (srs_id))",
    "CREATE TABLE gpkg_extensions (table_name TEXT, column_name TEXT, extension_name TEXT NOT NULL, definition TEXT NOT NULL, "
    "scope TEXT NOT NULL, CONSTRAINT ge_tce UNIQUE (table_name, column_name, extension_name))",
)
_PUT = (
    'INSERT OR REPLACE INTO "{index}" VALUES (NEW.fid, ST_MinX(NEW.geom), ST_MaxX(NEW.geom), '
    "ST_MinY(NEW.geom), ST_MaxY(NEW.geom)); "
)
_TAKE = 'DELETE FROM "{index}" WHERE id = OLD.fid; '
_TRIGGERS = (
    'CREATE TRIGGER "{index}_insert" AFTER INSERT ON "{t}" WHEN (NEW.geom NOT NULL AND NOT ST_IsEmpty(NEW.geom)) '
    "BEGIN " + _PUT + "END",
    'CREATE TRIGGER "{index}_update1" AFTER UPDATE OF geom ON "{t}" WHEN OLD.fid = NEW.fid AND '
    "(NEW.geom NOTNULL AND NOT ST_IsEmpty(NEW.geom)) BEGIN " + _PUT + "END",
    'CREATE TRIGGER "{index}_update2" AFTER UPDATE OF geom ON "{t}" WHEN OLD.fid = NEW.fid AND '
    "(NEW.geom ISNULL OR ST_IsEmpty(NEW.geom)) BEGIN " + _TAKE + "END",
    'CREATE TRIGGER "{index}_update3" AFTER UPDATE ON "{t}" WHEN OLD.fid != NEW.fid AND '
    "(NEW.geom NOTNULL AND NOT ST_IsEmpty(NEW.geom)) BEGIN " + _TAKE + _PUT + "END",
    'CREATE TRIGGER "{index}_update4" AFTER UPDATE ON "{t}" WHEN OLD.fid != NEW.fid AND '
    '(NEW.geom ISNULL OR ST_IsEmpty(NEW.geom)) BEGIN DELETE FROM "{index}" WHERE id IN (OLD.fid, NEW.fid); END',
    'CREATE TRIGGER "{index}_delete" AFTER DELETE ON "{t}" WHEN OLD.geom NOT NULL BEGIN ' + _TAKE + "END",
)
"""They keep the index true when a GIS edits the table: section F.3 of the standard. Made last, as they slow every insert."""
