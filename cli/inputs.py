"""What a person asks for on the command line, checked in full before anything starts."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tilery import keys, registry
from tilery.manifest import READY_LIMIT
from tilery.options import from_text, parse
from tilery.outcomes import BadInput


@dataclass(frozen=True, slots=True)
class InputFile:
    """A local file and the name it gets below the drop (with `/` for sub-folders)."""

    path: Path
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Request:
    """One drop: these files, as one dataset, with these options."""

    tenant: str
    workload: str
    dataset: str
    files: tuple[InputFile, ...]
    options: dict[str, Any]
    skipped: tuple[str, ...] = ()
    """Files of a folder that the workload does not read."""

    @property
    def prefix(self) -> str:
        """The key prefix of the dataset's files, with a trailing slash."""
        return keys.join("drop", self.tenant, self.workload, self.dataset) + "/"

    @property
    def ready_key(self) -> str:
        return self.prefix + keys.READY

    def key(self, file: InputFile) -> str:
        """Where a file goes; its name may be none that a key may have, where that is one bad file among others."""
        return self.prefix + file.name

    def ready(self) -> bytes:
        """`_READY.json`: the options, and the files with their sizes, so that a short upload is noticed; of more files than it
        may name, all that lie there are meant."""
        files = [{"name": keys.plain(file.name), "size": file.size} for file in self.files]
        full = json.dumps({"options": self.options, "files": files}, indent=1, ensure_ascii=False).encode()
        return full if len(full) <= READY_LIMIT else json.dumps({"options": self.options}).encode()

    def identity(self) -> dict[str, Any]:
        """What makes two requests the same: where the files are, their sizes and times, and the options."""
        files = [[str(file.path), file.name, file.size, file.path.stat().st_mtime_ns] for file in self.files]
        return {
            "tenant": self.tenant,
            "workload": self.workload,
            "dataset": self.dataset,
            "files": files,
            "options": self.options,
        }


def request(
    workload: str,
    inputs: Iterable[Path],
    settings: list[str] | None,
    tenant: str,
    name: str = "",
    products: Path | None = None,
) -> Request:
    """Check what was asked for; `BadInput` says in one sentence what is wrong and what to do.

    `products` is the folder where products go: what lies there is no input, even if it is below an input folder.
    """
    check_workload(workload)
    check_tenant(tenant)
    options = from_text(settings or [])
    parse(registry.options(workload), options, "--set")
    given = [Path(os.path.abspath(path.expanduser())) for path in inputs]
    if not given:
        raise BadInput(f"no input given; name the files or folders that {workload} should read")
    endings = registry.suffixes(workload)
    files: list[InputFile] = []
    skipped: list[str] = []
    for path in given:
        if path.is_dir():
            found, other = _folder(path, endings, products)
            if not found:
                raise BadInput(f"the folder {path} holds no file that {workload} reads ({', '.join(endings)})")
            files += found
            skipped += other
        else:
            files.append(_file(path, workload, endings))
    _unique(files)
    dataset = name or _name(given)
    asked = Request(tenant, workload, dataset, tuple(files), options, tuple(skipped))
    _check_keys(asked)
    return asked


def check_workload(name: str) -> None:
    names = registry.names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of: {', '.join(names)}"
        raise BadInput(f"there is no workload {name!r}: {hint}")


def check_installed(workload: str) -> None:
    """Raises `BadInput` if this machine lacks the libraries of a workload."""
    missing = registry.missing(workload)
    if missing:
        raise BadInput(f"{workload} needs {', '.join(missing)}, not installed here; run `make workloads`, which installs all")


def check_tenant(tenant: str) -> None:
    if not keys.TENANT.fullmatch(tenant):
        raise BadInput(f"the tenant {tenant!r} must be 1 to 32 letters a-z or digits; choose another with --tenant")


def _file(path: Path, workload: str, endings: tuple[str, ...]) -> InputFile:
    if not path.exists():
        raise BadInput(f"there is no file or folder {path}; check the path")
    if not path.is_file():
        raise BadInput(f"{path} is neither a file nor a folder; name a file that {workload} reads")
    if not _is_unicode(path.name):
        raise BadInput(f"the name {keys.plain(path.name)!r} is not valid UTF-8; rename it")
    if not path.name.lower().endswith(endings):
        raise BadInput(f"{path.name} is not a file that {workload} reads; it takes {', '.join(endings)}")
    return InputFile(path, path.name, _readable_size(path))


def _folder(folder: Path, endings: tuple[str, ...], products: Path | None) -> tuple[list[InputFile], list[str]]:
    found, other = [], []
    leave = products if products is not None and products != folder else None
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or any(part.startswith(".") for part in name.split("/")):
            continue
        if leave is not None and path.is_relative_to(leave):
            continue
        if path.name.lower().endswith(endings) and _is_unicode(name):
            found.append(InputFile(path, name, _readable_size(path)))
        elif path.name != keys.READY:
            other.append(keys.plain(name))
    return found, other


def _is_unicode(name: str) -> bool:
    """Whether a file's name is text: only such names can be sent."""
    return name.isascii() or not any("\ud800" <= character <= "\udfff" for character in name)


def _readable_size(path: Path) -> int:
    if not os.access(path, os.R_OK):
        raise BadInput(f"{path} cannot be read; check its permissions")
    return path.stat().st_size


def _unique(files: list[InputFile]) -> None:
    seen: dict[str, Path] = {}
    for file in files:
        if file.name in seen:
            raise BadInput(f"{seen[file.name]} and {file.path} have the same name {file.name!r}; rename one of them")
        seen[file.name] = file.path


def _name(given: list[Path]) -> str:
    """A dataset name: the one file or folder itself, or the folder that several have in common."""
    if len(given) == 1:
        return given[0].name or "dataset"
    return Path(os.path.commonpath([path.parent for path in given])).name or "dataset"


def _check_keys(asked: Request) -> None:
    if "/" in asked.dataset:
        raise BadInput(f"the dataset name {asked.dataset!r} has a slash; choose another with --name")
    try:
        keys.check(asked.ready_key)
        for file in () if registry.load(asked.workload).takes_bad_files else asked.files:
            keys.check(asked.key(file))
    except keys.BadKey as error:
        raise BadInput(f"{error}, or choose another dataset name with --name") from None
