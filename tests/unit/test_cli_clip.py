"""The video of `make demo-cctv`: fetched once and checked, or the user's own; else a sentence that says what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli import clip
from tests.data import real
from tilery.outcomes import BadInput, Transient


def test_what_was_fetched_before_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "MEMBER", "no/such/file.avi")
    kept = tmp_path / "vtest.avi"
    os.symlink(real("cctv/pets/vtest.avi"), kept)
    assert clip.clip(tmp_path) == kept


def test_without_debian_it_asks_for_a_video_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "MEMBER", "no/such/file.avi")
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "vtest.avi").write_bytes(b"another file")
    with pytest.raises(Transient, match="comes with Debian's opencv-doc, and apt-get is not here; give a video of your own"):
        clip.clip(tmp_path)


def test_a_package_with_another_file_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """apt-get and dpkg-deb as programs of this test: they hand over a package that holds something else."""
    (tmp_path / "apt-get").write_text("#!/bin/sh\n: > opencv-doc.deb\n")
    folder = tmp_path / "tree" / Path(clip.MEMBER).parent
    folder.mkdir(parents=True)
    (folder / "vtest.avi").write_bytes(b"another video")
    (tmp_path / "dpkg-deb").write_text(f"#!/bin/sh\ntar -C {tmp_path}/tree -cf - ./usr\n")
    for name in ("apt-get", "dpkg-deb"):
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(clip, "SHA256", "0" * 64)
    with pytest.raises(Transient, match=r"holds another usr/share/doc/.*vtest\.avi; give a video of your own"):
        clip.clip(tmp_path / "cache")
    assert not (tmp_path / "cache" / "vtest.avi").exists()


def test_a_video_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"there is no file .*mine\.mp4"):
        clip.given(str(tmp_path / "mine.mp4"))
    own = tmp_path / "mine.mp4"
    own.touch()
    assert clip.given(str(own)) == own
