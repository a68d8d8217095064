"""A real video without data in the repository: it travels in the opencv-doc package of Debian and Ubuntu.

vtest.avi: 795 frames of people who cross a square (view 1 of sequence S2.L1 of PETS 2009).
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tilery.outcomes import BadInput, Transient

MEMBER = "usr/share/doc/opencv-doc/examples/data/vtest.avi"
SHA256 = "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf"
OWN = "give a video of your own: make demo-cctv VIDEO=clip.mp4"
FETCH_S = 600


def clip(cache: Path) -> Path:
    """The clip: of the installed package, else below `cache`, fetched once (96 MB). Raises `Transient` where it cannot be."""
    path = cache / "vtest.avi"
    for there in (Path("/") / MEMBER, path):
        if there.exists() and _sha256(there.read_bytes()) == SHA256:
            return there
    for command in ("apt-get", "dpkg-deb"):
        if shutil.which(command) is None:
            raise Transient(f"the sample video comes with Debian's opencv-doc, and {command} is not here; {OWN}")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            subprocess.run(["apt-get", "download", "opencv-doc"], cwd=folder, capture_output=True, check=True, timeout=FETCH_S)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            why = (error.stderr or b"it took too long").decode(errors="replace").strip().splitlines()
            raise Transient(f"apt-get could not download opencv-doc ({why[-1] if why else 'no reason given'}); {OWN}") from None
        data = _member(next(Path(folder).glob("*.deb")))
    if _sha256(data) != SHA256:
        raise Transient(f"the opencv-doc of this system holds another {MEMBER}; {OWN}")
    partial = path.with_suffix(".part")
    partial.write_bytes(data)
    partial.replace(path)
    return path


def given(name: str) -> Path:
    """The user's own video. Raises `BadInput` if it is not there."""
    path = Path(name).expanduser()
    if not path.is_file():
        raise BadInput(f"there is no file {name}; {OWN}")
    return path


def _member(package: Path) -> bytes:
    command = ["dpkg-deb", "--fsys-tarfile", str(package)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process, tarfile.open(fileobj=process.stdout, mode="r|") as tar:
        for entry in tar:
            if entry.name.removeprefix("./") == MEMBER and (member := tar.extractfile(entry)) is not None:
                found = member.read()
                process.kill()
                return found
    raise Transient(f"the opencv-doc of this system holds no {MEMBER}; {OWN}")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
