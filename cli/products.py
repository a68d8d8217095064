"""Brings the products of a run to a folder: run.json last, so that its presence says that the rest is there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tilery import keys
from tilery.outcomes import BadInput
from tilery.store.port import NotFound, Store

RECORD = "run.json"
FAILURE = "failure.json"
AT_ONCE = 16
"""Products that are fetched at once: a drop of pictures has thousands of small ones."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What a run left: its record (run.json), and for a failed one failure.json in plain words."""

    record: dict[str, Any]
    failure: dict[str, Any] | None

    @property
    def exit_code(self) -> int:
        """0 succeeded, 1 failed, 2 bad input, 3 partial."""
        if self.record["status"] == "FAILED":
            return 2 if (self.failure or {}).get("error") == "BadInput" else 1
        return 3 if self.record["status"] == "PARTIAL" else 0


def read(store: Store, folder: str) -> Ended | None:
    """What lies in the results folder (a key prefix without trailing slash) of a run; None while there is no run.json."""
    try:
        record = json.loads(store.get(f"{folder}/{RECORD}"))
    except NotFound:
        return None
    failure = None
    if record["status"] == "FAILED":
        try:
            failure = json.loads(store.get(f"{folder}/{FAILURE}"))
        except NotFound:
            failure = None
    return Ended(record, failure)


def deliver(store: Store, folder: str, ended: Ended, out: Path, root: Path | None = None) -> Path:
    """Copy the products of the results folder into `out`; returns the path of run.json.

    Where the store is the directory `root` on the same file system, products are hard links and take no space. Files of an
    earlier run in `out` that this run did not make are removed, so that the folder never mixes two runs.
    """
    paths = files(ended.record, lambda path: store.get(f"{folder}/{path}"))
    out.mkdir(parents=True, exist_ok=True)
    clear(out, keep=set(paths))
    with ThreadPoolExecutor(AT_ONCE if root is None else 1) as pool:
        for _ in pool.map(lambda path: _bring(store, f"{folder}/{path}", out / path, root), paths):
            pass
    if ended.failure is not None:
        _write(out / FAILURE, ended.failure)
    return _write(out / RECORD, ended.record)


def files(record: dict[str, Any], read: Callable[[str], bytes]) -> list[str]:
    """The paths of all products of a run, and of the lists of those that are too many for run.json; `read` gets such a list."""
    products = list(record["products"])
    lists = [safe_path(listing["path"]) for listing in record.get("listed", [])]
    products += [json.loads(line) for path in lists for line in read(path).splitlines()]
    return [*lists, *(safe_path(product["path"]) for product in products)]


def clear(out: Path, keep: set[str] | None = None) -> None:
    """Take away what an earlier run delivered to `out`, as its run.json lists it; nothing else is touched."""
    record = out / RECORD
    try:
        earlier = json.loads(record.read_text())
        listed = files(earlier, lambda path: (out / path).read_bytes() if (out / path).is_file() else b"")
    except FileNotFoundError:
        return
    except (json.JSONDecodeError, KeyError, TypeError):
        raise BadInput(f"{record} was not written by Tilery; choose another folder with --out") from None
    record.unlink()
    (out / FAILURE).unlink(missing_ok=True)
    for path in listed:
        if path not in (keep or set()):
            (out / path).unlink(missing_ok=True)


def safe_path(path: str) -> str:
    """A product path that stays below its folder, else `BadInput`."""
    try:
        return keys.check(path)
    except keys.BadKey:
        raise BadInput(f"the record names a product {path!r} outside its folder; it is damaged") from None


def _bring(store: Store, key: str, path: Path, root: Path | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.unlink(missing_ok=True)
    if root is not None:
        link_or_copy(root / PurePosixPath(key), partial)
    else:
        store.download(key, str(partial))
    os.replace(partial, path)


def link_or_copy(source: Path, target: Path) -> bool:
    """Hard-link, or copy where the file system cannot; True if linked."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        return False
    return True


def _write(path: Path, value: dict[str, Any]) -> Path:
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    os.replace(partial, path)
    return path
