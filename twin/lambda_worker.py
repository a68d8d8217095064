"""What runs inside the twin's Lambda processes: a zygote that has imported a workload, and the workers it forks.

`python -m twin.lambda_worker FD PARENT_PID MODULE...` imports the modules, then forks one worker for each request that
arrives on the socket FD. Importing scipy or rasterio takes seconds; a fork of a process that has them takes
milliseconds. The zygote imports no handler: module-level loggers of a handler read their function's environment.

Zygote socket: a JSON line with a worker's channel attached in, `{"forked": pid}` and `{"exited": pid, "code": n}` lines out.
Worker channel: frames of a 4-byte length and JSON. In: `{"event", "request_id", "timeout_s", "log"}`.
Out: `{"payload": text}` or `{"error": {errorMessage, errorType, requestId, stackTrace}}`, as the Lambda runtime reports it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import logging
import os
import resource
import selectors
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tilery import recorder
from twin.offspring import die_with

LENGTH = struct.Struct(">I")
MAX_PAYLOAD = 6 * 1024 * 1024
"""Bytes of a synchronous request or response (Lambda quotas)."""

NOT_TAKEN_ALONG = ("boto3", "requests")
"""What rasterio and laspy import where they find it, to read from clouds, which nobody here asks them for: a quarter of the
time that a workload's imports take."""

Handler = Callable[[Any, Any], Any]


class Context:
    """The `LambdaContext` that a handler gets."""

    def __init__(self, spec: dict[str, Any], request_id: str, timeout_s: float) -> None:
        self.function_name: str = spec["name"]
        self.function_version = "$LATEST"
        self.invoked_function_arn: str = spec["arn"]
        self.memory_limit_in_mb: int = spec["memory_mib"]
        self.aws_request_id = request_id
        self.log_group_name = f"/aws/lambda/{self.function_name}"
        self.log_stream_name = request_id
        self.identity = None
        self.client_context = None
        self._deadline = time.monotonic() + timeout_s

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int(1000 * (self._deadline - time.monotonic())))


def main() -> None:
    """Be the zygote until the twin closes the socket."""
    descriptor, parent, *modules = sys.argv[1:]
    die_with(int(parent))
    control = socket.socket(fileno=int(descriptor))
    _import(modules)
    wake, wake_end = socket.socketpair()
    wake.setblocking(False)
    wake_end.setblocking(False)
    signal.set_wakeup_fd(wake_end.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    ready = selectors.DefaultSelector()
    ready.register(control, selectors.EVENT_READ)
    ready.register(wake, selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            if key.fileobj is wake:
                wake.recv(4096)
                _reap(control)
            else:
                text, descriptors, _, _ = socket.recv_fds(control, 1 << 20, 1)
                if not text:
                    return
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for inherited in (control, wake, wake_end):
                        inherited.close()
                    _worker(socket.socket(fileno=descriptors[0]), json.loads(text))
                os.close(descriptors[0])
                control.sendall(json.dumps({"forked": pid}).encode() + b"\n")


def _import(modules: list[str]) -> None:
    """Import what functions need, and leave it out of all later searches for garbage: these would look through every module,
    a fifth of the time that importing takes, and have each worker copy the memory that it shares."""
    gc.disable()
    with _hidden(NOT_TAKEN_ALONG):
        for module in modules:
            try:
                importlib.import_module(module)
            except Exception:
                print(f"{module} could not be imported beforehand; its functions will say why", file=sys.stderr)
                traceback.print_exc()
    gc.freeze()
    gc.enable()


@contextlib.contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Let modules do without others as if these were not installed; afterwards they are for whoever asks."""
    away = [name for name in names if name not in sys.modules]
    for name in away:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in away:
            del sys.modules[name]


def _reap(control: socket.socket) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            control.sendall(json.dumps({"exited": pid, "code": os.waitstatus_to_exitcode(status)}).encode() + b"\n")


def _worker(channel: socket.socket, spec: dict[str, Any]) -> None:
    """Be a worker of one function until the twin closes the channel; never returns."""
    code = 1
    try:
        die_with(spec["zygote"])
        os.environ.update(spec["environment"])
        recorder.start(handler=f"{spec['module']}.handler")
        # The Lambda runtime gives the root logger a handler too; it writes to wherever descriptor 2 points at the moment.
        logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
        frames = channel.makefile("rb")
        handler: Handler | None = None
        while (head := frames.read(LENGTH.size)) and len(head) == LENGTH.size:
            request = json.loads(frames.read(LENGTH.unpack(head)[0]))
            _log_to(Path(request["log"]))
            started = time.monotonic()
            failed_start = False
            try:
                handler = handler or _load(spec["module"])
                answer = _invoke(handler, request, Context(spec, request["request_id"], request["timeout_s"]))
            except InitError as error:
                answer, failed_start = {"error": _report(error.cause, request["request_id"], error.kind)}, True
            _say_report(spec, request["request_id"], time.monotonic() - started)
            text = json.dumps(answer).encode()
            channel.sendall(LENGTH.pack(len(text)) + text)
            if failed_start:
                break
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


class InitError(Exception):
    """The handler's module cannot be loaded; `kind` is the error type of the Lambda Python runtime."""

    def __init__(self, kind: str, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.kind = kind
        self.cause = cause


def _load(module: str) -> Handler:
    try:
        handler: Handler = importlib.import_module(module).handler
    except ImportError as error:
        raise InitError("Runtime.ImportModuleError", error) from error
    except SyntaxError as error:
        raise InitError("Runtime.UserCodeSyntaxError", error) from error
    except AttributeError as error:
        raise InitError("Runtime.HandlerNotFound", error) from error
    except Exception as error:
        raise InitError(type(error).__name__, error) from error
    return handler


def _invoke(handler: Handler, request: dict[str, Any], context: Context) -> dict[str, Any]:
    try:
        value = handler(request["event"], context)
    except Exception as error:
        _say("".join(traceback.format_exception(error)))
        return {"error": _report(error, request["request_id"])}
    try:
        payload = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        return {"error": _report(error, request["request_id"], "Runtime.MarshalError")}
    if len(payload.encode()) > MAX_PAYLOAD:
        too_large = ValueError(f"Response payload size exceeded maximum allowed payload size ({MAX_PAYLOAD} bytes).")
        return {"error": _report(too_large, request["request_id"], "Function.ResponseSizeTooLarge")}
    return {"payload": payload}


def _report(error: BaseException, request_id: str, kind: str = "") -> dict[str, Any]:
    return {
        "errorMessage": str(error),
        "errorType": kind or type(error).__name__,
        "requestId": request_id,
        "stackTrace": traceback.format_tb(error.__traceback__),
    }


def _log_to(path: Path) -> None:
    """Send what this process prints from here on to a file, through the descriptors so that native code follows."""
    _say("")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _say_report(spec: dict[str, Any], request_id: str, seconds: float) -> None:
    """The line that Lambda writes at the end of each call, of use for sizing memory."""
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    _say(
        f"REPORT RequestId: {request_id}\tDuration: {1000 * seconds:.2f} ms\t"
        f"Memory Size: {spec['memory_mib']} MB\tMax Memory Used: {peak_mib} MB\n"
    )


def _say(text: str) -> None:
    """Write to the log, if it takes it: a full disk must not hide how the call itself ended."""
    with contextlib.suppress(OSError):
        sys.stdout.write(text)
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    main()
