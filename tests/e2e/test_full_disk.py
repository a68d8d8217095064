"""The disk fills up in the middle of a run: one plain sentence, and the same command goes on once there is room."""

import shutil
import subprocess
import sys

import pytest

from tests.data import ROOT
from tests.e2e.drops import SHARDED, Cloud, Ended, thin_laz, verified

RUN = 'run pointcloud "$3" --out out --set lane=fargate --set shard_mib=0.03 --set tile_area_km2=0.02'
SMALL_DISK = f"""
mount -t tmpfs -o size=16m tmpfs "$1" || exit 90
cd "$1"
dd if=/dev/zero of=ballast bs=1k count=$((16384 - $5)) 2> "$4/dd"
"$2" -m cli.main {RUN} 2> "$4/full.err" > "$4/full.out"
echo $? > "$4/full.code"
rm ballast
"$2" -m cli.main {RUN} 2> "$4/roomy.err" > "$4/roomy.out"
echo $? > "$4/roomy.code"
cp -r out "$4/out"
"""
"""A disk of 16 MiB, all but so many KiB of it taken, on which a run is tried; then room is made, and it is tried again."""


@pytest.fixture
def alone() -> list[str]:
    """The start of a command that may mount a disk of its own."""
    unshare = shutil.which("unshare")
    command = [unshare or "", "--user", "--map-root-user", "--mount"]
    if not unshare or subprocess.run([*command, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode:
        pytest.skip("needs a user namespace in which a small disk can be mounted")
    return command


@pytest.mark.parametrize("free_kib", [pytest.param(20, marks=pytest.mark.long("400 has most of it")), 400])
def test_a_disk_that_fills_up_stops_the_run_and_with_room_it_goes_on(cloud: Cloud, alone: list[str], free_kib: int) -> None:
    disk, notes, survey = (cloud.folder / name for name in ("disk", "notes", "survey.laz"))
    disk.mkdir()
    notes.mkdir()
    data = thin_laz()
    survey.write_bytes(data)
    subprocess.run(
        [*alone, "sh", "-c", SMALL_DISK, "sh", disk, sys.executable, survey, notes, str(free_kib)],
        env={"PYTHONPATH": str(ROOT), "HOME": str(cloud.folder), "PATH": "/usr/bin:/bin"},
        check=True,
    )

    def said(name: str) -> str:
        return (notes / name).read_text()

    assert said("full.code") == "1\n"
    assert "is full; make room" in said("full.err") or "No space left on device; make room" in said("full.err")
    assert "Traceback" not in said("full.err")
    assert said("roomy.code") == "0\n", said("roomy.err")
    out = notes / "out"
    verified(survey, out / "classified" / survey.name)
    assert Cloud(cloud.folder).run(survey, *SHARDED).products == Ended(0, "", "", out).products
    assert survey.read_bytes() == data
