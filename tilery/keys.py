"""Every object key in one place: built, normalised and checked.

Tenants are `[a-z0-9]{1,32}`. A key never holds `..`, an empty part, a trailing slash or a control character.
"""

import hashlib
import re
from dataclasses import dataclass

READY = "_READY.json"
TENANT = re.compile(r"[a-z0-9]{1,32}")
WORKLOAD = re.compile(r"[a-z]{1,20}")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")


class BadKey(ValueError):
    """A key that Tilery refuses; the sentence says why."""


def check(key: str) -> str:
    """The key itself if it is safe on every store, else `BadKey`."""
    if wrong := problem(key):
        shown = repr(key) if len(key) < 200 else f"{key[:60]!r}..."
        raise BadKey(f"the key {shown} {wrong}")
    return key


def problem(key: str, longest: int = 1024) -> str:
    """What is wrong with a key and what to do, the second half of a sentence; empty if nothing is. `longest` in bytes."""
    if any(part in ("", ".", "..") for part in key.split("/")):
        return "has an empty part, '.' or '..'; rename it"
    if _UNSAFE.search(key):
        return "has a control character or a backslash; rename it"
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "is not valid UTF-8; rename it"
    return f"is longer than {longest:,} bytes; shorten the name" if size > longest else ""


def plain(name: str) -> str:
    r"""A name that can be shown and stored: what keys may not hold is written as an escape. Different names stay different.

    >>> plain("plain ü.png"), plain("two\nlines.png"), plain("back\\slash.png")
    ('plain ü.png', 'two\\x0alines.png', 'back\\\\slash.png')
    """

    def escape(found: re.Match[str]) -> str:
        code = ord(found[0])
        return "\\\\" if found[0] == "\\" else f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"

    return _UNPRINTABLE.sub(escape, name)


def join(*parts: str) -> str:
    """The checked key of these parts."""
    return check("/".join(parts))


@dataclass(frozen=True, slots=True)
class Drop:
    """What a drop key says. `file` is empty for a dataset; `prefix` holds the dataset's files."""

    tenant: str
    workload: str
    dataset: str
    file: str

    @property
    def prefix(self) -> str:
        return f"drop/{self.tenant}/{self.workload}/" + ("" if self.file else f"{self.dataset}/")


def parse_drop(key: str) -> Drop:
    """Read a drop key of one of the two shapes (DESIGN section 3); `BadKey` says why another is ignored.

    >>> parse_drop("drop/acme/pointcloud/site.laz").dataset
    'site.laz'
    """
    parts = check(key).split("/")
    if parts[0] != "drop" or len(parts) < 4:
        raise BadKey(f"{key!r} is not below drop/TENANT/WORKLOAD/; put files there")
    tenant, workload = parts[1], parts[2]
    if not TENANT.fullmatch(tenant):
        raise BadKey(f"the tenant {tenant!r} must be 1 to 32 letters a-z or digits")
    if not WORKLOAD.fullmatch(workload):
        raise BadKey(f"{workload!r} is not the name of a workload")
    if len(parts) == 4:
        if parts[3] == READY:
            raise BadKey(f"{READY} belongs inside a dataset folder: drop/{tenant}/{workload}/DATASET/{READY}")
        return Drop(tenant, workload, parts[3], parts[3])
    if len(parts) == 5 and parts[4] == READY:
        return Drop(tenant, workload, parts[3], "")
    raise BadKey(f"{key!r} is part of a dataset; the run starts when {READY} lands in drop/{tenant}/{workload}/{parts[3]}/")


def run_id(bucket: str, key: str, version: str) -> str:
    """The name of the execution: the same upload always gives the same one (64 hexadecimal digits)."""
    return hashlib.sha256("\n".join((bucket, key, version)).encode()).hexdigest()


def run(tenant: str, run_id: str, *names: str) -> str:
    """A key of the run's own small files: manifest, context, job lists."""
    return join("work", tenant, "runs", run_id, *names)


def stage(tenant: str, stage: str, fingerprint: str, *names: str) -> str:
    """A key of a stage's output, shared by every run with the same fingerprint."""
    return join("work", tenant, stage, fingerprint, *names)


def result(tenant: str, workload: str, dataset: str, *names: str) -> str:
    """A key of a published product: results/TENANT/WORKLOAD/DATASET/RUN/..."""
    return join("results", tenant, workload, dataset, *names)


def ledger(tenant: str, date: str, run_id: str, event: str) -> str:
    """A key of one ledger event; `date` is the run's first day (YYYY-MM-DD)."""
    return join("ledger", tenant, date, run_id, f"{event}.json")
