"""A small HTTP server for AWS's JSON protocol, on the loopback address only.

A web page in a browser on the same machine must not be able to drive the twin: requests with an `Origin`, a foreign
`Host` or another content type are refused.
Source: Smithy, "AWS JSON 1.0 protocol".
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

log = logging.getLogger("twin.endpoint")

MAX_BODY = 2 * 1024 * 1024
"""Bytes. The largest request of the API carries 256 KiB of JSON inside JSON."""
MAX_HEADERS = 100
CONTENT_TYPE = "application/x-amz-json-1.0"
LOCAL_HOSTS = ("127.0.0.1", "localhost")

Handle = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Operation name and request -> response; raises `Refused`."""


class Refused(Exception):
    """An answer other than success: the AWS error name, a sentence, the HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class Endpoint:
    """Serves one AWS service. `prefix` is the first part of `X-Amz-Target`, e.g. `AWSStepFunctions`."""

    def __init__(self, prefix: str, handle: Handle) -> None:
        self._prefix = prefix
        self._handle = handle
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self, port: int = 0) -> None:
        """Listen; port 0 lets the system choose one."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port, limit=64 * 1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for connection in list(self._connections):
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # the client, or the twin, went away: nobody is left to answer
        finally:
            self._connections.discard(task)
            with contextlib.suppress(ConnectionError):
                writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; false when the connection is to be closed."""
        line = (await reader.readuntil(b"\n")).decode("latin-1").split()
        headers = await _headers(reader)
        goes_on = headers.get("connection", "").lower() != "close"
        try:
            body = await _body(line, headers, reader)
            status, answer = 200, await self._handle(self._operation(headers), body)
        except Refused as refusal:
            status, answer = refusal.status, {"__type": refusal.code, "message": str(refusal)}
            goes_on = goes_on and status == 400
        except Exception as error:
            # The last net of a server: one bad request must not end the others' twin; the log has the whole story.
            log.exception("%s failed", headers.get("x-amz-target"))
            status, answer = 500, {"__type": "InternalServerError", "message": f"{type(error).__name__}: {error}"}
        text = json.dumps(answer, ensure_ascii=False).encode()
        head = (
            f"HTTP/1.1 {status} {'OK' if status == 200 else 'Error'}\r\n"
            f"Content-Type: {CONTENT_TYPE}\r\nContent-Length: {len(text)}\r\n"
            f"x-amzn-RequestId: {uuid.uuid4()}\r\nConnection: {'keep-alive' if goes_on else 'close'}\r\n\r\n"
        )
        writer.write(head.encode() + text)
        await writer.drain()
        return goes_on

    def _operation(self, headers: dict[str, str]) -> str:
        prefix, _, operation = headers.get("x-amz-target", "").partition(".")
        if prefix != self._prefix or not operation:
            raise Refused(
                "UnknownOperationException", f"this endpoint serves {self._prefix}, not {prefix or 'plain HTTP'}", 404
            )
        return operation


async def _headers(reader: asyncio.StreamReader) -> dict[str, str]:
    headers: dict[str, str] = {}
    for _ in range(MAX_HEADERS):
        line = (await reader.readuntil(b"\n")).strip()
        if not line:
            return headers
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    raise asyncio.LimitOverrunError("too many headers", 0)


async def _body(line: list[str], headers: dict[str, str], reader: asyncio.StreamReader) -> dict[str, Any]:
    """The JSON object of a request, after the checks that need no body."""
    if headers.get("host", "").rpartition(":")[0] not in LOCAL_HOSTS and headers.get("host") not in LOCAL_HOSTS:
        raise Refused("AccessDeniedException", "requests must be addressed to 127.0.0.1 or localhost", 403)
    if "origin" in headers:
        raise Refused("AccessDeniedException", "web pages may not call the twin", 403)
    if len(line) != 3 or line[0] != "POST":
        raise Refused(
            "UnknownOperationException", "this is the Step Functions API of a Tilery twin: use boto3 or `tilery`", 404
        )
    if not headers.get("content-length", "").isdigit():
        raise Refused("MissingContentLength", "a Content-Length is needed", 411)
    length = int(headers["content-length"])
    if length > MAX_BODY:
        raise Refused("RequestEntityTooLargeException", f"a request may have {MAX_BODY} bytes, not {length}", 413)
    text = await reader.readexactly(length)
    if headers.get("content-type", "").partition(";")[0].strip() not in (CONTENT_TYPE, "application/x-amz-json-1.1"):
        raise Refused("UnsupportedMediaTypeException", f"the content type must be {CONTENT_TYPE}", 415)
    try:
        value = json.loads(text or b"{}")
    except ValueError as error:
        raise Refused("SerializationException", f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Refused("SerializationException", "the body must be a JSON object")
    return value
