"""The HTTP front for pictures, with real requests to a real twin."""

from __future__ import annotations

import asyncio
import errno
import http.client
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cli.front import Front
from tilery.store.directory import DirectoryStore
from twin.twin import Twin

pytest.importorskip("pyvips")

BOUNDARY = "----tilery"


def picture(width: int = 64, height: int = 48) -> bytes:
    data = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(data, "PNG")
    return data.getvalue()


def form(fields: dict[str, str], files: dict[str, bytes]) -> bytes:
    body = b""
    for name, value in fields.items():
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    for name, data in files.items():
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'.encode()
        body += b"Content-Type: application/octet-stream\r\n\r\n" + data + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


class Client:
    def __init__(self, url: str) -> None:
        self.place = url.removeprefix("http://")

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.place, timeout=60)
        connection.request(method, path, body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **headers})
        answer = connection.getresponse()
        return answer.status, answer.read()

    def process(self, fields: dict[str, str], files: dict[str, bytes]) -> tuple[int, Any]:
        status, body = self.ask("POST", "/process", form(fields, files))
        return status, json.loads(body)


def with_front(root: Path, act: Callable[[Client], None]) -> None:
    async def live() -> None:
        (root / "drop" / "local" / "images").mkdir(parents=True)
        async with Twin(root, workloads=["images"], watch=True):
            with Front(DirectoryStore(root), "local") as front:
                await asyncio.to_thread(act, Client(front.url))

    asyncio.run(live())


def test_posted_pictures_come_back_with_their_results(tmp_path: Path) -> None:
    def act(client: Client) -> None:
        actions = json.dumps([["resize", "32x24"], ["split", True]])
        status, answer = client.process({"actions": actions, "output": "png"}, {"a b.png": picture()})
        assert (status, answer["status"]) == (200, "SUCCEEDED"), answer
        pieces = [product for product in answer["products"] if product["kind"] == "pictures"]
        assert len(pieces) == 4
        status, data = client.ask("GET", pieces[0]["url"])
        assert status == 200
        assert Image.open(io.BytesIO(data)).size == (16, 12)

    with_front(tmp_path / "root", act)


def test_every_wrong_request_gets_a_reason_and_never_a_bare_500(tmp_path: Path) -> None:
    def act(client: Client) -> None:
        cases: list[tuple[int, str, dict[str, str], dict[str, bytes]]] = [
            (400, "there is no file", {"actions": "[]"}, {}),
            (400, "fly", {"actions": '[["fly", 1]]'}, {"a.png": picture()}),
            (400, "unknown option 'colour'", {"colour": "1"}, {"a.png": picture()}),
            (400, "must be a list", {"actions": "[" * 100_000}, {"a.png": picture()}),
            (400, "must be a list", {"actions": f'[["rotate", {"9" * 9000}]]'}, {"a.png": picture()}),
            (400, "name it after an option", {"": "1"}, {"a.png": picture()}),
            (400, "longer than 255 bytes", {}, {"a" * 300: picture()}),
            (400, "a file and a folder", {}, {"a": picture(), "a/b.png": picture()}),
            (400, "starts a run", {}, {"_READY.json": b"{}"}),
            (400, "has no name", {}, {"": picture()}),
            (400, "'../a.png' has an empty part", {}, {"../a.png": picture()}),
            (413, "at most 10,000", {f"option{number}": "1" for number in range(10_001)}, {}),
        ]
        for expected, reason, fields, files in cases:
            status, answer = client.process(fields, files)
            assert status == expected, answer
            assert reason in answer["error"]
        status, answer = client.process({"actions": "[]"}, {"a.exe": b"MZ", "b.png": picture()})
        assert (status, answer["counts"]["errors"]) == (200, 1), "one bad picture does not fail the others"
        assert client.ask("POST", "/elsewhere", b"")[0] == 404
        assert client.ask("POST", "/process", b"{}", **{"Content-Type": "application/json"})[0] == 400
        assert client.ask("POST", "/process", form({}, {"a.png": b"x"}), Origin="http://evil.example")[0] == 403
        assert client.ask("POST", "/process", form({}, {"a.png": b"x"}), Host="[::1")[0] == 400
        whole, kind = form({"actions": "[]"}, {"a.png": picture()}), "multipart/form-data"
        broken = [(whole[:-20], f"{kind}; boundary={BOUNDARY}", "cut off"), (whole, kind, "no boundary")]
        broken += [(whole, f"{kind}; boundary=x", "not in the request")]
        twice = form({"actions": "[]"}, {})[: -len(BOUNDARY) - 6] + whole
        for body, content_type, reason in [*broken, (twice, f"{kind}; boundary={BOUNDARY}", "'actions' comes twice")]:
            status, said = client.ask("POST", "/process", body, **{"Content-Type": content_type})
            assert status == 400
            assert reason in json.loads(said)["error"]
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
            status, said = client.ask(method, "/process")
            assert (status, "POST pictures to /process" in json.loads(said)["error"]) == (405, True)
        assert client.ask("GET", "/process")[0] == 405
        assert client.ask("HEAD", "/static/0000/run.json") == (404, b"")
        assert client.ask("GET", "/static/../../etc/passwd")[0] == 404
        assert client.ask("GET", "/static/0000/run.json")[0] == 404

    with_front(tmp_path / "root", act)


def test_what_goes_wrong_in_the_front_itself_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(store: DirectoryStore, key: str, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(DirectoryStore, "put", full)
    with Front(DirectoryStore(tmp_path / "root"), "local") as front:
        status, answer = Client(front.url).process({}, {"a.png": picture()})
    assert status == 500
    assert answer["error"] == "the front could not do this: OSError: [Errno 28] No space left on device"
