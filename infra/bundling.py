"""Lambda code without Docker: a layer of wheels for the Lambda platform, a layer of this library, one zip a function.

Hashes are of what goes in, so that an unchanged source is not deployed again.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import jsii
from aws_cdk import aws_lambda as lambda_

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "3.13"
PLATFORMS = ("manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, 35)))
"""Every glibc up to that of Amazon Linux 2023; pip takes a tag literally (obstore's wheel says 2_24)."""
SOURCE_SUFFIXES = (".py", ".json", ".typed")


@jsii.implements(cdk.ILocalBundling)
class Local:
    """Bundle by a Python function that fills a folder."""

    def __init__(self, fill: Callable[[Path], None]) -> None:
        self._fill = fill

    def try_bundle(self, output_dir: str, *_: Any, **options: Any) -> bool:
        self._fill(Path(output_dir))
        return True


def sources(*roots: Path) -> list[Path]:
    """The source files below these folders (or these files themselves), sorted."""
    files = (file for root in roots for file in ([root] if root.is_file() else root.rglob("*")))
    return sorted(file for file in files if file.suffix in SOURCE_SUFFIXES and "__pycache__" not in file.parts)


def digest(files: Iterable[Path], *facts: str) -> str:
    """SHA-256 over the names and contents of files, and these facts."""
    state = hashlib.sha256("\n".join(facts).encode())
    for file in files:
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        state.update(f"\n{file.relative_to(ROOT).as_posix()} {content}".encode())
    return state.hexdigest()


def install(requirements: Path, target: Path) -> None:
    """Install wheels for Lambda on arm64 into `target`. Byte-identical for the same pins: nothing is compiled."""
    platforms = [argument for platform in PLATFORMS for argument in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", PYTHON, *platforms]
    command += ["--target", str(target), "-r", str(requirements)]
    subprocess.run(command, check=True, stdout=sys.stderr, umask=0o022)
    for folder in [*target.glob("**/__pycache__"), *target.glob("**/tests"), target / "bin"]:
        shutil.rmtree(folder, ignore_errors=True)


def copy(files: Iterable[Path], target: Path) -> None:
    """Copy files to the same paths below `target`, readable for everyone: a zip keeps modes, and Lambda is not their owner."""
    for file in files:
        place = target / file.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
        place.chmod(0o644)


def _code(folder: Path, key: str, fill: Callable[[Path], None]) -> lambda_.Code:
    return lambda_.Code.from_asset(
        str(folder),
        asset_hash=key,
        asset_hash_type=cdk.AssetHashType.CUSTOM,
        bundling=cdk.BundlingOptions(image=cdk.DockerImage.from_registry("scratch"), local=Local(fill)),
    )


def dependencies() -> lambda_.Code:
    """The layer of what the control functions import."""
    requirements = ROOT / "functions" / "requirements.txt"
    key = digest([requirements, ROOT / "constraints.txt"], *PLATFORMS, PYTHON)
    return _code(requirements.parent, key, lambda out: install(requirements, out / "python"))


def library() -> lambda_.Code:
    """The layer of this library: its source and nothing else."""
    files = sources(ROOT / "tilery")
    return _code(ROOT / "tilery", digest(files), lambda out: copy(files, out / "python"))


def function(name: str) -> lambda_.Code:
    """One nanoservice: its folder, and what the folders of functions/ share."""
    shared = [file for file in (ROOT / "functions").iterdir() if file.is_file()]
    files = sources(ROOT / "functions" / name, *shared)
    return _code(ROOT / "functions" / name, digest(files), lambda out: copy(files, out))
