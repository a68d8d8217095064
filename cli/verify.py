"""`tilery verify`: proof that a classified file differs from its input in nothing but the classification."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from cli.options import Json
from cli.target import open_directory
from cli.text import err, out, print_json
from tilery.outcomes import BadInput
from tilery.run import Source
from tilery.store.port import Store


def verify(
    before: Annotated[Path, typer.Argument(metavar="INPUT", help="The LAS or LAZ file that was dropped.")],
    after: Annotated[Path, typer.Argument(metavar="PRODUCT", help="The classified file that came back.")],
    as_json: Json = False,
) -> None:
    """Compare two LAS or LAZ files point by point: everything but the classification must be equal. Exit code 1 if not."""
    from tilery.workloads.pointcloud.verify import verify as differences_of

    with tempfile.TemporaryDirectory(prefix="tilery-verify-") as folder:
        root = Path(folder)
        store = open_directory(root)
        found = differences_of(store, show(store, root, "input", before), show(store, root, "product", after))
    if as_json:
        print_json({"equal": not found, "differences": found})
    elif found:
        for sentence in found:
            err().print(sentence, markup=False)
    else:
        out().print(f"{after.name} differs from {before.name} in nothing but the classification.", markup=False)
    raise typer.Exit(1 if found else 0)


def show(store: Store, root: Path, side: str, path: Path) -> Source:
    """Show a local file to the library as an object of a store."""
    if not path.is_file():
        raise BadInput(f"there is no file {path}; check the path")
    key = f"drop/{side}/{path.name}"
    link = root / key
    link.parent.mkdir(parents=True)
    link.symlink_to(path.resolve())
    entry = store.head(key)
    if entry is None:
        raise BadInput(f"{path} cannot be read; check its permissions")
    return Source(name=path.name, key=key, size=entry.size, version=entry.version)
