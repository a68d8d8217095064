"""An HTTP front for pictures, on this machine only: post them with operations, get the run and its results.

    POST /process        multipart/form-data: `actions` (JSON list of operations), any option by name, and files
    GET  /static/RUN/... the products of that run

Answers are JSON with `error`, one sentence, where something is wrong: 400 a bad request, 403 a request from elsewhere, 404
nothing there, 405 another method, 411 no length, 413 too large, 500 what went wrong here, 504 a run that takes longer than the
front waits (it goes on; `run_id` finds it later).
"""

from __future__ import annotations

import json
import logging
import mimetypes
import threading
import time
import uuid
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from email.errors import CloseBoundaryNotFoundDefect, NoBoundaryInMultipartDefect, StartBoundaryNotFoundDefect
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

from tilery import keys, registry
from tilery.options import from_text, parse
from tilery.outcomes import BadInput
from tilery.store.port import NotFound, Store

log = logging.getLogger("cli.front")

WORKLOAD = "images"
MAX_BODY = 64 << 20
"""Bytes of one request. Larger drops go into the drop folder."""
MOST_PARTS = 10_000
LONGEST_NAME = 255
"""Bytes of a file's or a folder's name on common disks."""
WAIT_S = 120.0
LOCAL = ("127.0.0.1", "localhost")
USAGE = "POST pictures to /process, GET results from /static/RUN/..."
_BROKEN = {
    NoBoundaryInMultipartDefect: "the Content-Type names no boundary between the parts; let your program set it",
    StartBoundaryNotFoundDefect: "the boundary that the Content-Type names is not in the request; let your program set it",
    CloseBoundaryNotFoundDefect: "the request ends before its last boundary: it was cut off; send it again",
}


class Refused(Exception):
    """An answer other than success."""

    def __init__(self, status: HTTPStatus, sentence: str, **facts: Any) -> None:
        super().__init__(sentence)
        self.status, self.facts = status, facts


@dataclass(frozen=True, slots=True)
class Form:
    """A parsed request: options, and files by name."""

    options: dict[str, Any]
    files: dict[str, bytes]


def parse_form(content_type: str, body: bytes) -> Form:
    """The options and files of a multipart body. `actions` stands for the option `operations`. Raises `Refused`."""
    if not content_type.lower().startswith("multipart/form-data"):
        raise Refused(HTTPStatus.BAD_REQUEST, "send multipart/form-data: a field `actions` and one or more files")
    if body.count(b"\n--") > MOST_PARTS:
        raise Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request may have at most {MOST_PARTS:,} parts; use the drop folder"
        )
    message = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + content_type.encode("latin-1", "replace") + b"\r\n\r\n" + body
    )
    if message.defects:
        raise Refused(HTTPStatus.BAD_REQUEST, _BROKEN.get(type(message.defects[0]), "the request's parts cannot be read"))
    settings: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for part in message.iter_parts() if message.is_multipart() else ():
        name, file = _field(part), part.get_filename()
        data = part.get_payload(decode=True)
        if not isinstance(data, bytes):
            raise Refused(HTTPStatus.BAD_REQUEST, f"the field {name!r} is itself multipart; send it plain")
        if file is None and (not name or "=" in name):
            raise Refused(HTTPStatus.BAD_REQUEST, f"a field is called {name!r}; name it after an option, or `actions`")
        option = "operations" if name == "actions" else name
        if file is None and option in settings:
            raise Refused(HTTPStatus.BAD_REQUEST, f"the field {name!r} comes twice; send it once")
        if file is None:
            settings[option] = f"{option}={data.decode('utf-8', 'replace').strip()}"
        elif not file:
            raise Refused(HTTPStatus.BAD_REQUEST, "a file has no name; give it one: -F 'files=@PATH;filename=NAME'")
        elif file in files:
            raise Refused(HTTPStatus.BAD_REQUEST, f"two files are called {file!r}; rename one")
        else:
            files[file] = data
    if not files:
        raise Refused(HTTPStatus.BAD_REQUEST, "there is no file in the request")
    try:
        return Form(from_text(list(settings.values())), files)
    except BadInput as error:
        raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from None


def _field(part: Message) -> str:
    name = part.get_param("name", header="content-disposition")
    return str(name or "")


def lay(store: Store, tenant: str, form: Form) -> str:
    """Put a request's files into the drop folder as a dataset of its own; returns the run id it will have. Raises `Refused`."""
    dataset = f"front-{uuid.uuid4().hex[:16]}"
    prefix = f"drop/{tenant}/{WORKLOAD}/{dataset}"
    try:
        parse(registry.options(WORKLOAD), form.options, "the request")
        _check_names(prefix, form.files)
    except BadInput as error:
        raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from None
    for name, data in form.files.items():
        store.put(f"{prefix}/{name}", data)
    ready = f"{prefix}/{keys.READY}"
    store.put(ready, json.dumps({"options": form.options, "files": [{"name": name} for name in form.files]}).encode())
    entry = store.head(ready)
    assert entry is not None
    return keys.run_id("drop", ready, entry.version)


def _check_names(prefix: str, names: Collection[str]) -> None:
    """Raise `BadInput` for names that cannot lie below `prefix`, or not beside each other."""
    folders = {str(folder) for name in names for folder in PurePosixPath(name).parents}
    for name in names:
        if wrong := keys.problem(f"{prefix}/{name}"):
            raise BadInput(f"the name {keys.plain(name)[:200]!r} {wrong}")
        if name == keys.READY:
            raise BadInput(f"{name} starts a run and is no picture; leave it out")
        if name in folders:
            raise BadInput(f"{name!r} is a file and a folder of another file; rename one")
        if any(len(part.encode()) > LONGEST_NAME for part in name.split("/")):
            raise BadInput(f"the name {name[:40]!r}... is longer than {LONGEST_NAME} bytes; shorten it")


def answer(store: Store, tenant: str, run_id: str, wait_s: float = WAIT_S) -> dict[str, Any]:
    """The record of a run once it has ended, with links to its products. Raises `Refused`."""
    until = time.monotonic() + wait_s
    while time.monotonic() < until:
        folder = _results(store, tenant, run_id)
        if folder and store.head(f"{folder}/run.json") is not None:
            return _answer(store, folder, run_id)
        time.sleep(0.05)
    raise Refused(HTTPStatus.GATEWAY_TIMEOUT, "the run is still going on; ask for /static/RUN/run.json later", run_id=run_id)


def _answer(store: Store, folder: str, run_id: str) -> dict[str, Any]:
    record = json.loads(store.get(f"{folder}/run.json"))
    if record["status"] == "FAILED":
        failure = json.loads(store.get(f"{folder}/failure.json"))
        status = HTTPStatus.BAD_REQUEST if failure["error"] == "BadInput" else HTTPStatus.BAD_GATEWAY
        raise Refused(status, failure["sentence"], run_id=run_id)
    products = [
        {"kind": one["kind"], "source": one["source"], "bytes": one["bytes"], "url": f"/static/{run_id}/{quote(one['path'])}"}
        for one in record["products"]
    ]
    for one in record.get("listed", []):  # of very many pieces, the lists of them
        products.append({"kind": one["kind"], "count": one["count"], "url": f"/static/{run_id}/{one['path']}"})
    index = json.loads(store.get(f"{folder}/index.json"))
    return {"run_id": run_id, "status": record["status"], "counts": record["counts"], "products": products, "index": index}


def _results(store: Store, tenant: str, run_id: str) -> str:
    """The results folder of a run of the front; empty before the run is known."""
    try:
        given = json.loads(store.get(keys.run(tenant, run_id, "manifest.json")))
    except NotFound:
        return ""
    return keys.result(tenant, WORKLOAD, given["dataset"], run_id)


def static(store: Store, tenant: str, path: str) -> bytes:
    """A product by its path below /static/. Raises `Refused`."""
    run_id, _, name = path.partition("/")
    try:
        folder = _results(store, tenant, keys.check(run_id))
        if not folder:
            raise NotFound(run_id)
        return store.get(keys.join(folder, name))
    except (NotFound, keys.BadKey):
        raise Refused(HTTPStatus.NOT_FOUND, "there is no such product") from None


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise Refused(HTTPStatus.BAD_REQUEST, f"{url[:80]!r} is no address") from None


class Front:
    """The server, in threads of its own, on the loopback address."""

    def __init__(self, store: Store, tenant: str, port: int = 0) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(store, tenant))
        self._thread = threading.Thread(target=self._server.serve_forever, name="front", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Front:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(store: Store, tenant: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60

        def do_POST(self) -> None:
            def process() -> tuple[bytes, str]:
                if _split(self.path).path != "/process":
                    raise Refused(HTTPStatus.NOT_FOUND, "post to /process")
                form = parse_form(self.headers.get("Content-Type", ""), self._body())
                return json.dumps(answer(store, tenant, lay(store, tenant, form))).encode(), "application/json"

            self._serve(process)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_other(self) -> None:
            def refuse() -> tuple[bytes, str]:
                raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{self.command} is not done here; {USAGE}")

            self._serve(refuse)

        do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = do_other

        def do_GET(self) -> None:
            def product() -> tuple[bytes, str]:
                path = unquote(_split(self.path).path)
                if path == "/process":
                    raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{self.command} is not done here; {USAGE}")
                if not path.startswith("/static/"):
                    raise Refused(HTTPStatus.NOT_FOUND, f"there is nothing at {path[:80]!r}; {USAGE}")
                return static(store, tenant, path.removeprefix("/static/")), mimetypes.guess_type(path)[
                    0
                ] or "application/octet-stream"

            self._serve(product)

        def _body(self) -> bytes:
            length = self.headers.get("Content-Length", "")
            if not (length.isascii() and length.isdigit()):
                raise Refused(HTTPStatus.LENGTH_REQUIRED, "say Content-Length")
            if int(length) > MAX_BODY:
                raise Refused(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request may have {MAX_BODY >> 20} MiB; use the drop folder"
                )
            return self.rfile.read(int(length))

        def _serve(self, work: Callable[[], tuple[bytes, str]]) -> None:
            status, facts = HTTPStatus.OK, b""
            try:
                self._check_origin()
                facts, kind = work()
            except Refused as refusal:
                status, kind = refusal.status, "application/json"
                facts = json.dumps({"error": str(refusal), **refusal.facts}).encode()
                self.close_connection = True
            except (ConnectionError, TimeoutError):
                raise  # whoever asked has gone
            except Exception as error:  # the last net of a server; a full disk, for one
                log.exception("%s %s failed", self.command, self.path)
                status, kind = HTTPStatus.INTERNAL_SERVER_ERROR, "application/json"
                facts = json.dumps({"error": f"the front could not do this: {type(error).__name__}: {error}"}).encode()
                self.close_connection = True
            self._send(status, facts, kind)

        def _send(self, status: int, facts: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(facts)))
            self.send_header("X-Content-Type-Options", "nosniff")
            if status == HTTPStatus.METHOD_NOT_ALLOWED:
                self.send_header("Allow", "POST" if self.path.startswith("/process") else "GET, HEAD")
            with suppress(ConnectionError):  # whoever asked may have gone
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(facts)

        def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
            """What the server itself refuses (no HTTP, another method) is said as all else."""
            self.close_connection = True
            self._send(code, json.dumps({"error": message or HTTPStatus(code).phrase}).encode(), "application/json")

        def _check_origin(self) -> None:
            """A page of another site must not drive this machine's front, nor reach it under another name."""
            host = _split(f"//{self.headers.get('Host', '')}").hostname
            origin = self.headers.get("Origin")
            if host not in LOCAL or (origin and _split(origin).hostname not in LOCAL):
                raise Refused(HTTPStatus.FORBIDDEN, "this front answers this machine only")

        def log_message(self, format: str, *args: Any) -> None:
            """Runs have logs of their own."""

    return Handler
