"""A real S3 server (moto) on this machine that keeps a log of the API calls it saw and can refuse chosen ones."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from tilery.store.s3 import S3Store

BUCKETS = {"drop": "the-drop", "work": "the-work", "results": "the-results", "ledger": "the-results"}


@dataclass(frozen=True, slots=True)
class Call:
    api: str
    bucket: str
    key: str
    source_key: str = ""
    versioned: bool = False


@dataclass
class Server:
    url: str = ""
    calls: list[Call] = field(default_factory=list)
    refuse: dict[str, int] = field(default_factory=dict)
    """API name -> HTTP status to answer instead of doing it."""

    on_body: Callable[[bytes], None] = lambda body: None
    """Told the body of every request to STS."""

    @property
    def session(self) -> boto3.Session:
        return boto3.Session("testing", "testing", region_name="us-east-1")

    @property
    def client(self) -> Any:
        return self.session.client("s3", endpoint_url=self.url)

    def store(self) -> S3Store:
        return S3Store(BUCKETS, self.session, endpoint=self.url, retries=1)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] == "POST" and environ["PATH_INFO"] == "/":  # STS shares the port
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            self.on_body(body)
            return self.app(environ | {"wsgi.input": io.BytesIO(body)}, start_response)
        call = _read(environ)
        self.calls.append(call)
        if status := self.refuse.get(call.api):
            body = b"<Error><Code>%s</Code></Error>" % (b"AccessDenied" if status == 403 else b"Refused")
            start_response(f"{status} Refused", [("Content-Length", str(len(body)))])
            return [body]
        return self.app(environ, start_response)

    def __post_init__(self) -> None:
        self.app = DomainDispatcherApplication(create_backend_app)


def _read(environ: dict[str, Any]) -> Call:
    """The S3 API call that a request makes (Amazon S3 API Reference, request syntax of each action)."""
    method, query = environ["REQUEST_METHOD"], parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
    raw = environ["PATH_INFO"].encode("latin-1").decode()  # WSGI hands bytes over as latin-1
    bucket, _, key = raw.lstrip("/").partition("/")
    source = environ.get("HTTP_X_AMZ_COPY_SOURCE", "")
    by_shape = {
        ("GET", True): "GetObject",
        ("HEAD", True): "HeadObject",
        ("PUT", True): "UploadPartCopy" if source else "UploadPart" if "uploadId" in query else "PutObject",
        ("POST", True): "CreateMultipartUpload" if "uploads" in query else "CompleteMultipartUpload",
        ("DELETE", True): "AbortMultipartUpload" if "uploadId" in query else "DeleteObject",
        ("GET", False): "ListObjectVersions" if "versions" in query else "ListObjectsV2",
        ("POST", False): "DeleteObjects",
    }
    path, _, version = source.partition("?versionId=")
    return Call(
        by_shape.get((method, bool(key)), f"{method} {raw}"),
        bucket,
        key or query.get("prefix", [""])[0],
        unquote(path).lstrip("/").partition("/")[2],
        bool(version) or "versionId" in query,
    )


@contextmanager
def running() -> Iterator[Server]:
    """The server with the three buckets, drop versioned as it is deployed."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = Server()
    listening = make_server("127.0.0.1", 0, server, threaded=True)
    thread = Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{listening.server_port}"
    try:
        for name in set(BUCKETS.values()):
            server.client.create_bucket(Bucket=name)
        server.client.put_bucket_versioning(Bucket=BUCKETS["drop"], VersioningConfiguration={"Status": "Enabled"})
        server.calls.clear()
        yield server
    finally:
        listening.shutdown()
        thread.join()
