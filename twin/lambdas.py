"""The twin's Lambda service: warm worker processes, one per function and concurrent call, forked from a zygote.

A call behaves as on AWS: the handler's exception class is the error name, a time-out or a death kills the worker and
says so in Lambda's words, a worker that used more memory than the function has is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from twin.integrations import TaskFailed
from twin.lambda_worker import LENGTH, MAX_PAYLOAD
from twin.offspring import Guardian, kill_group

MEMORY_CHECK_S = 0.25
MIN_IDLE = 16
"""Warm workers kept at least: one for each function that a run calls; they share their zygote's memory."""
SYSTEM_LOGS = "_system"
"""Log folder of calls that belong to no run."""
SAFE_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """A deployed function. Functions of one `zygote` share a process that has imported what they need."""

    name: str
    module: str
    """The Python module whose `handler(event, context)` is called."""
    memory_mib: int
    timeout_s: float
    environment: Mapping[str, str] = field(default_factory=dict)
    zygote: str = "control"

    @property
    def arn(self) -> str:
        return f"arn:aws:lambda:local:000000000000:function:{self.name}"


class Lambdas:
    """Invokes functions in warm processes. `preload` names the modules that each zygote imports before it forks."""

    def __init__(
        self,
        functions: Iterable[FunctionSpec],
        *,
        logs: Path,
        guardian: Guardian,
        preload: Mapping[str, list[str]] | None = None,
        environment: Mapping[str, str] | None = None,
        max_workers: int | None = None,
    ) -> None:
        self.functions = {function.name: function for function in functions}
        self._logs = logs
        self._guardian = guardian
        self._preload = dict(preload or {})
        self._environment = dict(os.environ if environment is None else environment)
        self._max_workers = max_workers or max(2, os.cpu_count() or 1)
        self._zygotes: dict[str, _Zygote] = {}
        self._starting: dict[str, asyncio.Lock] = {}
        self._places: dict[str, asyncio.Semaphore] = {}
        self._idle: list[_Worker] = []

    async def warm(self, zygote: str) -> None:
        """Start a zygote ahead of the first call."""
        lock = self._starting.setdefault(zygote, asyncio.Lock())
        async with lock:
            present = self._zygotes.get(zygote)
            if present is None or present.dead:
                self._zygotes[zygote] = _Zygote(
                    self._preload.get(zygote, []), self._environment, self._logs / SYSTEM_LOGS / f"{zygote}.log", self._guardian
                )

    async def invoke(self, function: str, event: Any) -> Any:
        """Call a function by name or ARN and return its value; a failure raises `TaskFailed` as Step Functions sees it.

        Cancelling the call kills the worker: a stopped run writes nothing more.
        """
        async with self.place(function):
            return await self.invoke_placed(function, event)

    def place(self, function: str) -> AbstractAsyncContextManager[Any]:
        """One of the places of workers that call this function; who enters waits for it."""
        spec = self.functions.get(function.rpartition(":")[2])
        return nullcontext() if spec is None else self._places.setdefault(spec.zygote, asyncio.Semaphore(self._max_workers))

    async def invoke_placed(self, function: str, event: Any) -> Any:
        """`invoke` for a caller who holds a place."""
        spec = self.functions.get(function.rpartition(":")[2])
        if spec is None:
            raise TaskFailed("Lambda.ResourceNotFoundException", f"Function not found: {function}")
        size = len(json.dumps(event, ensure_ascii=False).encode())
        if size > MAX_PAYLOAD:
            raise TaskFailed("Lambda.RequestTooLargeException", f"{size} byte payload is too large for {spec.name}")
        worker = await self._worker(spec)
        try:
            value = await self._call(worker, event)
        except BaseException:
            if not worker.reusable:
                worker.kill()
            else:
                self._keep(worker)
            raise
        self._keep(worker)
        return value

    async def close(self) -> None:
        """Kill every process."""
        for zygote in self._zygotes.values():
            zygote.close()
        self._zygotes.clear()
        self._idle.clear()

    async def _worker(self, spec: FunctionSpec) -> _Worker:
        for position in range(len(self._idle) - 1, -1, -1):
            if self._idle[position].spec is spec:
                worker = self._idle.pop(position)
                if not worker.gone:
                    return worker
        await self.warm(spec.zygote)
        return await self._zygotes[spec.zygote].fork(spec)

    def _keep(self, worker: _Worker) -> None:
        """Back to the pool; the longest unused ones leave when it grows beyond what can be busy at once."""
        self._idle.append(worker)
        while len(self._idle) > max(MIN_IDLE, 2 * self._max_workers):
            self._idle.pop(0).kill()

    async def _call(self, worker: _Worker, event: Any) -> Any:
        spec, request_id = worker.spec, str(uuid.uuid4())
        log = self._logs / run_of(event) / f"{spec.name}.log"
        request = {"event": event, "request_id": request_id, "timeout_s": spec.timeout_s, "log": str(log)}
        watch = asyncio.create_task(worker.watch_memory())
        try:
            answer = await asyncio.wait_for(worker.ask(request), spec.timeout_s)
        except TimeoutError:
            raise _failure("Sandbox.Timedout", f"Task timed out after {spec.timeout_s:.2f} seconds", request_id) from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise _failure("Runtime.ExitError", await worker.last_words(), request_id) from None
        finally:
            watch.cancel()
        if "error" in answer:
            raise TaskFailed(answer["error"]["errorType"], json.dumps(answer["error"], ensure_ascii=False))
        return json.loads(answer["payload"])


def run_of(event: Any) -> str:
    """The run that an event belongs to, as the folder name of its logs.

    >>> run_of({"run_id": "abc"}), run_of({"detail": {"name": "abc"}}), run_of({"run_id": "../x"})
    ('abc', 'abc', '_system')
    """
    if isinstance(event, dict):
        detail = event.get("detail")
        for name in (event.get("run_id"), detail.get("name") if isinstance(detail, dict) else None):
            if isinstance(name, str) and SAFE_RUN.fullmatch(name):
                return name
    return SYSTEM_LOGS


def _failure(kind: str, message: str, request_id: str) -> TaskFailed:
    cause = {"errorMessage": f"RequestId: {request_id} Error: {message}", "errorType": kind, "requestId": request_id}
    return TaskFailed(kind, json.dumps(cause))


class _Worker:
    """One forked process, seen from the twin."""

    def __init__(
        self,
        spec: FunctionSpec,
        pid: int,
        exited: asyncio.Future[int],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.spec = spec
        self.pid = pid
        self._exited = exited
        self._reader = reader
        self._writer = writer
        self._over_memory_mib = 0.0
        self.reusable = True

    @property
    def gone(self) -> bool:
        return self._exited.done() or self._reader.at_eof()

    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request, one answer. Until the answer is there the worker cannot serve another call."""
        self.reusable = False
        text = json.dumps(request, ensure_ascii=False).encode()
        self._writer.write(LENGTH.pack(len(text)) + text)
        await self._writer.drain()
        size = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))[0]
        answer: dict[str, Any] = json.loads(await self._reader.readexactly(size))
        self.reusable = True
        return answer

    async def watch_memory(self) -> None:
        """Kill the worker when it holds more memory than its function has.

        The resident set is watched, since a limit on the address space would count what numba and GDAL only reserve.
        """
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.pid)
            while True:
                await asyncio.sleep(MEMORY_CHECK_S)
                used_mib = process.memory_info().rss / 2**20
                if used_mib > self.spec.memory_mib:
                    self._over_memory_mib = used_mib
                    self.kill()
                    return

    async def last_words(self) -> str:
        """Why the process ended, as Lambda says it."""
        try:
            code = await asyncio.wait_for(asyncio.shield(self._exited), 5)
        except TimeoutError:
            return "Runtime exited without providing a reason"
        if self._over_memory_mib:
            return (
                f"Runtime exited with error: signal: killed (used {self._over_memory_mib:.0f} MiB, "
                f"memory size is {self.spec.memory_mib} MB)"
            )
        if code >= 0:
            return f"Runtime exited with error: exit status {code}" if code else "Runtime exited without providing a reason"
        name = "killed" if code == -signal.SIGKILL else signal.Signals(-code).name
        return f"Runtime exited with error: signal: {name}"

    def kill(self) -> None:
        self.reusable = False
        if not self._exited.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self._writer.close()


def _discard(forking: asyncio.Task[_Worker]) -> None:
    """A worker that nobody waits for any more."""
    if not forking.cancelled() and forking.exception() is None:
        forking.result().kill()


class _Zygote:
    """A process that has imported what its functions need, and forks them on request."""

    def __init__(self, modules: list[str], environment: Mapping[str, str], log: Path, guardian: Guardian) -> None:
        self._loop = asyncio.get_running_loop()
        self._guardian = guardian
        self._control, theirs = socket.socketpair()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output, theirs:
            # Popen and not asyncio's spawn: no watcher thread is needed, the socket ends when the process does.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "twin.lambda_worker", str(theirs.fileno()), str(os.getpid()), *modules],
                pass_fds=(theirs.fileno(),),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        guardian.add(self._process.pid)
        self._control.setblocking(False)
        self._loop.add_reader(self._control.fileno(), self._listen)
        self._buffer = b""
        self._turn = asyncio.Lock()
        self._forked: asyncio.Future[tuple[int, asyncio.Future[int]]] | None = None
        self._exits: dict[int, asyncio.Future[int]] = {}
        self.dead = False

    async def fork(self, spec: FunctionSpec) -> _Worker:
        """A new worker of a function. Forking is not cut short when the caller is cancelled: the answers come in order."""
        forking = self._loop.create_task(self._fork(spec))
        try:
            return await asyncio.shield(forking)
        except asyncio.CancelledError:
            forking.add_done_callback(_discard)
            raise

    async def _fork(self, spec: FunctionSpec) -> _Worker:
        async with self._turn:
            if self.dead:
                raise _failure("Runtime.ExitError", "Runtime exited without providing a reason", "-")
            ours, theirs = socket.socketpair()
            self._forked = self._loop.create_future()
            text = json.dumps(
                {
                    "name": spec.name,
                    "arn": spec.arn,
                    "module": spec.module,
                    "memory_mib": spec.memory_mib,
                    "environment": dict(spec.environment),
                    "zygote": self._process.pid,
                }
            ).encode()
            with theirs:
                # A few kilobytes into an empty socket buffer: this cannot block.
                socket.send_fds(self._control, [text], [theirs.fileno()])
            try:
                pid, exited = await self._forked
            except BaseException:
                ours.close()
                raise
        reader, writer = await asyncio.open_connection(sock=ours)
        return _Worker(spec, pid, exited, reader, writer)

    def close(self) -> None:
        if not self.dead:
            self._ended()

    def _listen(self) -> None:
        try:
            data = self._control.recv(65536)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._ended()
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "forked" in message:
                exited: asyncio.Future[int] = self._loop.create_future()
                self._exits[message["forked"]] = exited
                if self._forked is not None and not self._forked.done():
                    self._forked.set_result((message["forked"], exited))
            else:
                self._exits.pop(message["exited"]).set_result(message["code"])

    def _ended(self) -> None:
        self.dead = True
        self._loop.remove_reader(self._control.fileno())
        self._control.close()
        kill_group(self._process.pid)
        self._process.wait()
        self._guardian.remove(self._process.pid)
        if self._forked is not None and not self._forked.done():
            self._forked.set_exception(_failure("Runtime.ExitError", "Runtime exited without providing a reason", "-"))
            self._forked.exception()  # seen, also when whoever waited was cancelled
        for exited in self._exits.values():
            exited.set_result(-signal.SIGKILL)
        self._exits.clear()
