"""Kernels are compiled once, kept, and loaded without their compiler; what they are given is checked."""

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tilery import machine_code
from tilery.workloads.pointcloud import compiled

pytest.importorskip("numba")
SUMS = """
import numpy as np
from tilery.machine_code import LONG, Array, called, kernel

@called
def twice(value):
    return 2 * value

@kernel(LONG, Array("int32", 2, readonly=True), LONG, Array("int64"))
def sums(table, plus, into):
    largest = np.int64(-(1 << 62))
    for row in range(table.shape[0]):
        into[row] = plus
        for column in range(table.shape[1]):
            into[row] += twice(np.int64(table[row, column]))
        largest = max(largest, into[row])
    return largest
"""
DICE = """
import numpy as np
from tilery.machine_code import NOTHING, Array, kernel

@kernel(NOTHING, Array("float64"))
def dice(values):
    for at in range(len(values)):
        values[at] = np.random.random()
"""


def module_of(source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The kernels of a source, to be kept beside it."""
    name = f"kernels_{folder.name}"
    (folder / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv(machine_code.KEPT, str(folder / "kept"))
    return importlib.import_module(name)


def test_a_kernel_does_as_its_source_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of(SUMS, tmp_path, monkeypatch)
    assert not machine_code.file_of(module).exists()
    machine_code.load(module)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [machine_code.file_of(module).name]
    table, into = np.arange(6, dtype=np.int32).reshape(2, 3), np.zeros(2, np.int64)
    assert module.sums(table, -1, into) == 23
    assert into.tolist() == [5, 23]
    for wrong in (table.T, table.astype(np.int64), table[0]):
        with pytest.raises(TypeError, match="a kernel takes"):
            module.sums(wrong, 1, into)
    into.flags.writeable = False
    with pytest.raises(TypeError, match="read-only"):
        module.sums(table, 1, into)


def test_a_kernel_that_needs_more_than_itself_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="the kernel dice needs numba_get_np_random_state"):
        machine_code.load(module_of(DICE, tmp_path, monkeypatch))


def test_kept_kernels_are_loaded_without_numba() -> None:
    compiled.prepare(10**9)
    script = (
        "import sys\n"
        "from tilery.workloads.pointcloud import compiled\n"
        "compiled.prepare(compiled.LEAST_POINTS)\n"
        "print(compiled.at_hand(), 'numba' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "True False\n"


@pytest.mark.parametrize(
    ("points", "there", "keeps", "loads"),
    [
        (1_000, True, True, False),
        (20_000, True, False, True),
        (1_900_000, False, True, False),
        (2_000_000, False, True, True),
        (2_000_000, False, False, False),
        (30_000_000, False, False, True),
    ],
    ids=["few points", "an image that has them", "few for compiling", "a machine that keeps them", "a function", "many points"],
)
def test_kernels_are_loaded_where_that_pays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, points: int, there: bool, keeps: bool, loads: bool
) -> None:
    loaded: list[ModuleType] = []
    (tmp_path / "there").touch()
    monkeypatch.setattr(compiled, "at_hand", lambda: False)
    monkeypatch.setattr(machine_code, "file_of", lambda _: tmp_path / ("there" if there else "missing"))
    monkeypatch.setattr(machine_code, "can_keep", lambda: keeps)
    monkeypatch.setattr(machine_code, "load", loaded.append)
    compiled.prepare(points)
    assert loaded == (list(compiled.MODULES) if loads else [])


def test_no_kernel_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_code, "find_spec", lambda _: None)
    monkeypatch.setattr(compiled, "at_hand", lambda: False)
    monkeypatch.setattr(machine_code, "load", lambda _: pytest.fail("there is nothing to compile with"))
    compiled.prepare(10**9)
    assert compiled.kernels_for(np.zeros(1)) is None
