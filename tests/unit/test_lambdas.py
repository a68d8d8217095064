"""Functions in warm processes, with throw-away handlers in a temporary folder."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.processes import alive
from twin.integrations import TaskFailed
from twin.lambdas import FunctionSpec, Lambdas
from twin.offspring import Guardian

HANDLERS = {
    "echo": """
import os
calls = 0
def handler(event, context):
    global calls
    calls += 1
    print("said", event.get("say"))
    return {"event": event, "pid": os.getpid(), "calls": calls, "greeting": os.environ.get("GREETING"),
            "name": context.function_name, "memory": context.memory_limit_in_mb, "arn": context.invoked_function_arn,
            "left_ms": context.get_remaining_time_in_millis(), "request": context.aws_request_id}
""",
    "refuse": """
class BadInput(Exception): pass
def handler(event, context):
    raise BadInput("site.laz is truncated")
""",
    "sleep": """
import os, time
def handler(event, context):
    open(event["pidfile"], "w").write(str(os.getpid()))
    time.sleep(event["seconds"])
    open(event["pidfile"] + ".woke", "w").close()
""",
    "leave": "import os\ndef handler(event, context): os._exit(3)\n",
    "hoard": """
import time
def handler(event, context):
    held = bytearray(400 * 2**20)
    for i in range(0, len(held), 4096): held[i] = 1
    time.sleep(20)
""",
    "large": "def handler(event, context): return 'x' * (6 * 2**20)\n",
    "strange": "def handler(event, context): return {1, 2}\n",
    "broken": "import no_such_module\n",
    "empty": "",
    "noisy": "def handler(event, context): return float('nan')\n",
}


@pytest.fixture
def module_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    for name, text in HANDLERS.items():
        (folder / f"throwaway_{name}.py").write_text(text)
    return folder


def run(module_folder: Path, body: Callable[[Lambdas], Awaitable[None]], max_workers: int = 3) -> None:
    async def inside() -> None:
        guardian = Guardian()
        specs = [
            FunctionSpec(name, f"throwaway_{name}", 256, 1.0 if name == "sleep" else 30.0, {"GREETING": f"hello {name}"})
            for name in HANDLERS
        ]
        path = os.pathsep.join([str(module_folder), *filter(None, sys.path)])
        lambdas = Lambdas(
            specs,
            logs=module_folder.parent / "logs",
            guardian=guardian,
            environment={**os.environ, "PYTHONPATH": path},
            max_workers=max_workers,
        )
        try:
            await body(lambdas)
        finally:
            await lambdas.close()
            guardian.close()

    asyncio.run(inside())


async def failure(lambdas: Lambdas, name: str, event: Any) -> tuple[str, dict[str, Any]]:
    with pytest.raises(TaskFailed) as caught:
        await lambdas.invoke(name, event)
    return caught.value.error, json.loads(caught.value.cause)


def test_a_function_gets_its_event_environment_and_context_and_its_log_goes_to_the_run(module_folder: Path) -> None:
    async def body(lambdas: Lambdas) -> None:
        value = await lambdas.invoke("arn:aws:lambda:local:000000000000:function:echo", {"run_id": "r1", "say": "grüß"})
        assert value["event"] == {"run_id": "r1", "say": "grüß"}
        assert value["greeting"] == "hello echo"
        assert value["name"] == "echo"
        assert value["memory"] == 256
        assert value["arn"].endswith(":function:echo")
        assert 29_000 < value["left_ms"] <= 30_000
        log = (module_folder.parent / "logs" / "r1" / "echo.log").read_text()
        assert "said grüß" in log
        assert value["request"] in log

    run(module_folder, body)


def test_a_second_call_is_served_by_the_same_warm_process_within_milliseconds(module_folder: Path) -> None:
    async def body(lambdas: Lambdas) -> None:
        first = await lambdas.invoke("echo", {})
        started = time.perf_counter()
        for _ in range(50):
            again = await lambdas.invoke("echo", {})
        assert again["pid"] == first["pid"]
        assert again["calls"] == 51
        assert (time.perf_counter() - started) / 50 < 0.01

    run(module_folder, body)


def test_calls_at_once_run_in_several_processes_but_never_more_than_allowed(module_folder: Path) -> None:
    async def body(lambdas: Lambdas) -> None:
        answers = await asyncio.gather(*(lambdas.invoke("echo", {"n": n}) for n in range(20)))
        assert [answer["event"]["n"] for answer in answers] == list(range(20))
        assert 1 <= len({answer["pid"] for answer in answers}) <= 3

    run(module_folder, body)


def test_an_exception_becomes_the_error_name_with_the_cause_that_lambda_gives(module_folder: Path) -> None:
    async def body(lambdas: Lambdas) -> None:
        error, cause = await failure(lambdas, "refuse", {})
        assert error == "BadInput"
        assert cause["errorMessage"] == "site.laz is truncated"
        assert cause["errorType"] == "BadInput"
        assert "throwaway_refuse.py" in "".join(cause["stackTrace"])
        assert cause["requestId"]

    run(module_folder, body)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("broken", "Runtime.ImportModuleError"),
        ("empty", "Runtime.HandlerNotFound"),
        ("strange", "Runtime.MarshalError"),
        ("noisy", "Runtime.MarshalError"),
        ("large", "Function.ResponseSizeTooLarge"),
    ],
)
def test_a_function_that_cannot_answer_fails_with_the_name_of_the_lambda_runtime(
    module_folder: Path, function: str, expected: str
) -> None:
    async def body(lambdas: Lambdas) -> None:
        error, cause = await failure(lambdas, function, {})
        assert error == expected
        assert cause["errorType"] == expected
        assert (await lambdas.invoke("echo", {}))["calls"] == 1

    run(module_folder, body)


def test_an_unknown_function_is_named(module_folder: Path) -> None:
    async def body(lambdas: Lambdas) -> None:
        with pytest.raises(TaskFailed, match="Function not found: nothing") as caught:
            await lambdas.invoke("nothing", {})
        assert caught.value.error == "Lambda.ResourceNotFoundException"

    run(module_folder, body)


def test_a_time_out_kills_the_worker(module_folder: Path, tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"

    async def body(lambdas: Lambdas) -> None:
        error, cause = await failure(lambdas, "sleep", {"pidfile": str(pidfile), "seconds": 2.5})
        assert error == "Sandbox.Timedout"
        assert "Task timed out after 1.00 seconds" in cause["errorMessage"]
        await asyncio.sleep(1.8)
        assert not alive(int(pidfile.read_text()))
        assert not Path(f"{pidfile}.woke").exists()

    run(module_folder, body)


def test_cancelling_a_call_kills_the_worker(module_folder: Path, tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"

    async def body(lambdas: Lambdas) -> None:
        call = asyncio.create_task(lambdas.invoke("sleep", {"pidfile": str(pidfile), "seconds": 0.9}))
        await until(pidfile)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.sleep(1.2)
        assert not Path(f"{pidfile}.woke").exists()
        assert (await lambdas.invoke("echo", {}))["calls"] == 1

    run(module_folder, body)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_log_that_takes_nothing_more_does_not_hide_how_the_call_ended(module_folder: Path) -> None:
    folder = module_folder.parent / "logs" / "r1"
    folder.mkdir(parents=True)
    (folder / "refuse.log").symlink_to("/dev/full")

    async def body(lambdas: Lambdas) -> None:
        for _ in range(2):
            assert (await failure(lambdas, "refuse", {"run_id": "r1"}))[0] == "BadInput"

    run(module_folder, body)


def test_calls_that_are_cancelled_at_any_moment_never_mix_up_the_workers_of_others(module_folder: Path) -> None:
    async def body(lambdas: Lambdas) -> None:
        await lambdas.warm("control")
        for number in range(60):
            cancelled = asyncio.create_task(lambdas.invoke("echo", {"n": -1}))
            await asyncio.sleep(number * 0.0002)
            cancelled.cancel()
            if number % 2:
                assert (await lambdas.invoke("echo", {"n": number}))["event"] == {"n": number}
            else:
                assert (await failure(lambdas, "refuse", {}))[0] == "BadInput"

    run(module_folder, body)


def test_a_worker_that_dies_is_an_exit_error_and_the_next_call_gets_a_new_one(module_folder: Path, tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"

    async def body(lambdas: Lambdas) -> None:
        error, cause = await failure(lambdas, "leave", {})
        assert error == "Runtime.ExitError"
        assert "exit status 3" in cause["errorMessage"]
        call = asyncio.create_task(failure(lambdas, "sleep", {"pidfile": str(pidfile), "seconds": 0.9}))
        await until(pidfile)
        os.kill(int(pidfile.read_text()), signal.SIGKILL)
        error, cause = await call
        assert error == "Runtime.ExitError"
        assert "signal: killed" in cause["errorMessage"]
        assert await lambdas.invoke("sleep", {"pidfile": str(pidfile), "seconds": 0}) is None

    run(module_folder, body)


def test_an_idle_worker_that_was_killed_is_replaced(module_folder: Path) -> None:
    async def body(lambdas: Lambdas) -> None:
        first = await lambdas.invoke("echo", {})
        os.kill(first["pid"], signal.SIGKILL)
        await asyncio.sleep(0.2)
        assert (await lambdas.invoke("echo", {}))["pid"] != first["pid"]

    run(module_folder, body)


def test_a_killed_zygote_is_replaced(module_folder: Path) -> None:
    async def body(lambdas: Lambdas) -> None:
        first = await lambdas.invoke("echo", {})
        os.kill(psutil.Process(first["pid"]).ppid(), signal.SIGKILL)
        await asyncio.sleep(0.2)
        assert not alive(first["pid"])
        assert (await lambdas.invoke("echo", {}))["calls"] == 1

    run(module_folder, body)


def test_a_worker_over_its_memory_is_killed(module_folder: Path) -> None:
    async def body(lambdas: Lambdas) -> None:
        error, cause = await failure(lambdas, "hoard", {})
        assert error == "Runtime.ExitError"
        assert "signal: killed" in cause["errorMessage"]
        assert "memory size is 256 MB" in cause["errorMessage"]

    run(module_folder, body)


def test_an_event_above_six_megabytes_is_refused(module_folder: Path) -> None:
    async def body(lambdas: Lambdas) -> None:
        with pytest.raises(TaskFailed) as caught:
            await lambdas.invoke("echo", {"x": "y" * (6 * 2**20)})
        assert caught.value.error == "Lambda.RequestTooLargeException"

    run(module_folder, body)


async def until(path: Path) -> None:
    for _ in range(500):
        if path.exists() and path.read_text():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{path} was not written")


def test_a_zygote_loads_what_its_workload_needs_and_compiles_nothing() -> None:
    """On a fresh machine the kernels of the point cloud take ten seconds to compile, before a run's first word. What others
    would take along for clouds is left to those who ask for it."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from twin.deployment import Deployment\n"
        "from twin.lambda_worker import _import\n"
        "modules = Deployment(Path('/'), '', ('pointcloud',), 1).preload()['pointcloud']\n"
        "_import(modules)\n"
        "assert 'tilery.workloads.pointcloud.classify' in modules\n"
        "assert set(modules) | {'rasterio', 'laspy'} <= set(sys.modules)\n"
        "print(sorted({'numba', 'llvmlite', 'boto3', 'requests'} & set(sys.modules)))\n"
        "import boto3, requests\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
