"""The twin: everything that `cdk deploy` creates, running on this machine below one folder.

    async with Twin(root, workloads=["pointcloud"]) as twin:
        accepted = await twin.drop("drop/local/pointcloud/site.laz")
        info = await twin.wait(accepted.run_id)

The folder `root` holds the store (drop/, work/, results/, ledger/) and the twin's own files: twin/executions (journals),
twin/logs, twin/endpoint.json, twin/lock, twin/dead-letters.jsonl.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, ClassVar

from tilery import keys, names, registry
from tilery.outcomes import BadInput
from tilery.store.directory import DirectoryStore
from twin import events
from twin.api import StepFunctionsApi, status_detail
from twin.client import Client
from twin.deployment import Deployment, available_lanes, base_environment, machine_arn
from twin.engine import Engine, ExecutionInfo, StatusChange
from twin.faults import ExecutionDoesNotExist
from twin.integrations import Json, RealClock, TaskFailed
from twin.jobs import Jobs
from twin.lambdas import Lambdas
from twin.offspring import Guardian
from twin.render import render
from twin.services import LocalServices
from twin.watch import DropWatcher

log = logging.getLogger("twin")

WATCHDOG_S = 300
ENDED_BADLY = ("FAILED", "TIMED_OUT", "ABORTED")
BUCKET = "drop"


@dataclass(frozen=True, slots=True)
class Accepted:
    """An upload that has a run. `new` is false when the same upload had started it before."""

    key: str
    run_id: str
    execution_arn: str
    new: bool = True
    why: str = ""
    started: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Ignored:
    """An upload that starts no run, and why."""

    key: str
    why: str
    run_id: str = ""
    started: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Resumed:
    """An execution that a twin before this one had not finished."""

    execution_arn: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that a person should see: a dead letter, an explanation that could not be written."""

    sentence: str


TwinEvent = Accepted | Ignored | Resumed | StatusChange | Trouble


class Twin:
    """An async context manager; one twin per folder. `max_workers` bounds Lambda workers, `max_jobs` Batch jobs at once."""

    def __init__(
        self,
        root: Path,
        *,
        workloads: Sequence[str] | None = None,
        port: int = 0,
        watch: bool = False,
        on_event: Callable[[TwinEvent], None] = lambda event: None,
        max_workers: int | None = None,
        max_jobs: int | None = None,
    ) -> None:
        self.root = root.resolve()
        self.url = ""
        self._workloads = tuple(registry.installed() if workloads is None else workloads)
        self._port = port
        self._watch = watch
        self._on_event = on_event
        self._max_workers = max_workers
        self._max_jobs = max_jobs
        self._folder = self.root / "twin"
        self._stack = contextlib.AsyncExitStack()
        self._background: set[asyncio.Task[Any]] = set()
        self._told: set[tuple[str, ...]] = set()

    async def __aenter__(self) -> Twin:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def drop(self, key: str) -> Accepted | Ignored:
        """Raise the upload event of an object in the store and wait until ingest has decided."""
        answer = await self._upload(key)
        self._on_event(answer)
        return answer

    async def wait(self, run_id: str) -> ExecutionInfo:
        """The execution of a run once it has ended and, if badly, was explained. Raises `ExecutionDoesNotExist`."""
        info = await self.engine.wait(self.execution_arn(run_id))
        await self.explained()
        return info

    async def redrive(self, run_id: str) -> None:
        """Let a failed run go on from where it failed."""
        await self.engine.redrive(self.execution_arn(run_id))

    def execution_arn(self, run_id: str) -> str:
        """The execution of a run, of whatever workload. Raises `ExecutionDoesNotExist`."""
        if (arn := self._known(run_id)) is None:
            raise ExecutionDoesNotExist(f"there is no run {run_id!r} in {self.root}")
        return arn

    async def _start(self) -> None:
        self._stack.enter_context(_locked(self._folder))
        guardian = Guardian()
        self._stack.callback(guardian.close)
        endpoint = _LateEndpoint()
        await endpoint.start(self._port)
        self._stack.push_async_callback(endpoint.close)
        self.url = f"http://127.0.0.1:{endpoint.port}"
        machine_cores = os.cpu_count() or 1
        deployment = Deployment(
            self.root, self.url, self._workloads, map_concurrency=4 * machine_cores, lanes=available_lanes()
        )
        logs = self._folder / "logs"
        self._store = DirectoryStore(self.root)
        self._lambdas = Lambdas(
            deployment.functions(),
            logs=logs,
            guardian=guardian,
            preload=deployment.preload(),
            environment=base_environment(),
            max_workers=self._max_workers,
        )
        self._stack.push_async_callback(self._lambdas.close)
        jobs = Jobs(deployment.job_definitions(), logs=logs, guardian=guardian, max_jobs=self._max_jobs)
        services = LocalServices(
            self._lambdas, jobs, self._start_execution, self._folder / "dead-letters.jsonl", self._on_dead_letter
        )
        self._stack.callback(services.close)
        self.engine = Engine(self.root, services, _StoredObjects(self._store), RealClock(), self._on_status)
        self._stack.push_async_callback(self._stop_background)
        self._stack.push_async_callback(self.engine.close)
        for name, definition, kind in deployment.machines():
            self.engine.register(name, render(definition, deployment.substitutions(name)), kind)
        api = StepFunctionsApi(self.engine)
        endpoint.serve(api)
        self.stepfunctions = Client(api.handle)
        self._announce_endpoint()
        await self._lambdas.warm("control")
        for workload in self._workloads[:1]:
            await self._lambdas.warm(workload)
        for arn in await self.engine.resume():
            self._on_event(Resumed(arn))
        self._in_background(self._watchdog(at_once=(self._folder / "executions").exists()))
        if self._watch:
            self._in_background(DropWatcher(self.root, self._landed).run())

    def _announce_endpoint(self) -> None:
        path = self._folder / "endpoint.json"
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps({"url": self.url, "pid": os.getpid()}), encoding="utf-8")
        part.replace(path)
        self._stack.callback(path.unlink, missing_ok=True)

    async def _upload(self, key: str) -> Accepted | Ignored:
        entry = self._store.head(key)
        if entry is None:
            return Ignored(key, f"there is no file {key} in {self.root}")
        run_id = keys.run_id(BUCKET, key, entry.version)
        if (arn := self._known(run_id)) is not None:
            return Accepted(key, run_id, arn, new=False)
        event = events.object_created(BUCKET, key, size=entry.size, etag=entry.etag, version=entry.version)
        if not events.matches(events.drop_pattern(BUCKET), event):
            return Ignored(key, _why_filtered(key))
        workload = key.split("/")[2] if key.count("/") > 2 else ""
        if workload in registry.names() and workload not in self._workloads:
            return Ignored(key, _why_not_here(workload))
        ingest = await self.engine.start(machine_arn(names.INGEST_MACHINE), None, event)
        ended = await self.engine.wait(ingest.arn)
        if (arn := self._known(run_id)) is not None:
            return Accepted(key, run_id, arn)
        output = ended.output if isinstance(ended.output, dict) else {}
        return Ignored(key, str(output.get("why") or self._why_not_started(ended)))

    def _why_not_started(self, ingest: ExecutionInfo) -> str:
        return f"the upload could not be taken in; see {self._folder / 'dead-letters.jsonl'} ({ingest.status})"

    async def _landed(self, key: str) -> None:
        """A file in the watched folder. What had its run before needs no word."""
        try:
            answer = await self._upload(key)
        except keys.BadKey as error:
            answer = Ignored(key, str(error))
        if self._is_news(answer):
            self._on_event(answer)

    def _is_news(self, answer: Accepted | Ignored) -> bool:
        """A dataset may have thousands of files: the first one speaks for all that wait for the same _READY.json, and none does
        where it has come (before this twin was started)."""
        if isinstance(answer, Accepted):
            return answer.new
        folder = tuple(answer.key.split("/")[:4])
        if answer.key.count("/") < 4 or answer.key.endswith(f"/{keys.READY}"):
            return True
        told_before = folder in self._told or self.root.joinpath(*folder, keys.READY).exists()
        self._told.add(folder)
        return not told_before

    def _known(self, run_id: str) -> str | None:
        """The execution of a run, if there is one."""
        for workload in self._workloads:
            arn = machine_arn(names.machine_name(workload)).replace(":stateMachine:", ":execution:") + f":{run_id}"
            with contextlib.suppress(ExecutionDoesNotExist):
                return self.engine.describe(arn).arn
        return None

    async def _start_execution(self, machine: str, name: str | None, value: Json) -> tuple[str, float]:
        info = await self.engine.start(machine, name, value)
        return info.arn, info.start

    def _on_status(self, change: StatusChange) -> None:
        if change.status in ENDED_BADLY:
            self._in_background(self._explain(change.execution))
        self._on_event(change)

    async def _explain(self, info: ExecutionInfo) -> None:
        event = {name: value for name, value in status_detail(info).items() if value is not None}
        try:
            await self._lambdas.invoke("explain", events.status_change(event))
        except TaskFailed as failure:
            self._on_event(Trouble(f"why {info.name[:12]} ended as {info.status} could not be written down: {failure}"))

    async def explained(self) -> None:
        """Wait until every failure of so far has its explanation."""
        while waiting := [task for task in self._background if task.get_name() == "Twin._explain"]:
            await asyncio.wait(waiting)

    def _on_dead_letter(self, body: str) -> None:
        self._on_event(Trouble(f"an upload could not be taken in and was set aside: {body[:500]}"))

    async def _watchdog(self, at_once: bool) -> None:
        """The schedule of the watchdog function; `at_once` when executions of an earlier twin may need it."""
        if not at_once:
            await asyncio.sleep(WATCHDOG_S)
        for number in itertools.count():
            event = events.schedule("watchdog")
            if number % (86_400 // WATCHDOG_S) == 1:  # once a day, whenever this machine is on
                event["detail"] = {"tidy": sorted(path.name for path in self.root.glob("results/*"))}
            try:
                await self._lambdas.invoke("watchdog", event)
            except TaskFailed as failure:
                self._on_event(Trouble(f"the watchdog failed: {failure}"))
            await asyncio.sleep(WATCHDOG_S)

    def _in_background(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work, name=work.__qualname__)
        self._background.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s ended", task.get_name(), exc_info=error)
            self._on_event(Trouble(f"a part of the twin ended: {type(error).__name__}: {error}"))

    async def _stop_background(self) -> None:
        """Explanations are finished, watching ends."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.explained(), 30)
        tasks = list(self._background)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _LateEndpoint:
    """The endpoint's port is needed before the engine that answers on it exists; requests until then wait."""

    def __init__(self) -> None:
        from twin.endpoint import Endpoint

        self._ready: asyncio.Future[StepFunctionsApi] = asyncio.get_running_loop().create_future()
        self._endpoint = Endpoint("AWSStepFunctions", self._handle)

    @property
    def port(self) -> int:
        return self._endpoint.port

    async def start(self, port: int) -> None:
        try:
            await self._endpoint.start(port)
        except OSError as error:
            raise BadInput(f"port {port} of this machine cannot be used: {error.strerror}; choose another --port") from None

    def serve(self, api: StepFunctionsApi) -> None:
        self._ready.set_result(api)

    async def close(self) -> None:
        await self._endpoint.close()

    async def _handle(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        api = await asyncio.shield(self._ready)
        return await api.handle(operation, request)


class _StoredObjects:
    """`Objects` of the engine: a bucket's name is only a label, keys begin with their area."""

    def __init__(self, store: DirectoryStore) -> None:
        self._store = store

    def get(self, bucket: str, key: str) -> bytes:
        return self._store.get(key)

    def put(self, bucket: str, key: str, data: bytes) -> None:
        self._store.put(key, data)


@contextlib.contextmanager
def _locked(folder: Path) -> Any:
    """Hold the folder for this process. The lock goes when the process does, however it ends; `BadInput` if it is taken."""
    folder.mkdir(parents=True, exist_ok=True)
    lock: BinaryIO
    with (folder / "lock").open("a+b") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read(20).decode(errors="replace").strip() or "unknown"
            raise BadInput(
                f"{folder.parent} is in use by another twin (process {holder}); stop it, or choose another folder with --root"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()).encode())
        lock.flush()
        yield


def _why_not_here(workload: str) -> str:
    """Why a workload that exists is none of this twin's."""
    missing = ", ".join(registry.missing(workload))
    lacks = f"{workload} needs {missing}, not installed here; run `make workloads`, then start again"
    return lacks if missing else f"this twin was started without {workload}"


def _why_filtered(key: str) -> str:
    """Why the rule let no such key through."""
    try:
        keys.parse_drop(key)
    except keys.BadKey as error:
        return str(error)
    return f"{key!r} does not have the shape of a drop"
