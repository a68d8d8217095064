"""What the twin itself costs: its start, a Lambda task, and items of a distributed map.

python -m benchmarks.twin.overhead [--repeat N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import cost_of, machine
from twin.engine import Engine
from twin.integrations import Json, RealClock, TaskContext

START = """
import asyncio, sys, time
begun = time.perf_counter()
from pathlib import Path
from twin.twin import Twin
async def main():
    root = Path(sys.argv[1])
    (root / "drop/demo/pointcloud").mkdir(parents=True)
    (root / "drop/demo/pointcloud/a.pdf").write_bytes(b"x")
    async with Twin(root, workloads=["pointcloud"]) as twin:
        started = time.perf_counter() - begun
        await twin.drop("drop/demo/pointcloud/a.pdf")
        print(started, time.perf_counter() - begun)
asyncio.run(main())
"""
MAP = {
    "QueryLanguage": "JSONata",
    "StartAt": "Each",
    "States": {
        "Each": {
            "Type": "Map",
            "Label": "Each",
            "MaxConcurrency": 40,
            "ItemReader": {
                "Resource": "arn:aws:states:::s3:getObject",
                "ReaderConfig": {"InputType": "JSONL"},
                "Arguments": {"Bucket": "work", "Key": "work/items.jsonl"},
            },
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                "StartAt": "One",
                "States": {
                    "One": {
                        "Type": "Task",
                        "Resource": "arn:aws:states:::lambda:invoke",
                        "Arguments": {"FunctionName": "one", "Payload": "{% $states.input %}"},
                        "Output": "{% $states.result.Payload %}",
                        "End": True,
                    }
                },
            },
            "End": True,
        }
    },
}


class Echo:
    """Integrations that answer at once, and the objects that the map reads: what remains is the engine."""

    def __init__(self, items: int) -> None:
        self.lines = "".join(json.dumps({"n": number}) + "\n" for number in range(items)).encode()

    def room(self, resource: str, arguments: Json) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def call(self, resource: str, arguments: Json, task: TaskContext) -> Json:
        return {"Payload": arguments["Payload"], "StatusCode": 200}

    def get(self, bucket: str, key: str) -> bytes:
        return self.lines

    def put(self, bucket: str, key: str, data: bytes) -> None:
        pass


async def map_ms(items: int) -> float:
    """CPU milliseconds of the engine for each item of a distributed map with one Lambda task."""
    echo: Any = Echo(items)
    with tempfile.TemporaryDirectory() as root:
        engine = Engine(Path(root), echo, echo, RealClock())
        machine_arn = engine.register("bench", json.dumps(MAP))
        begun = time.process_time()
        info = await engine.start(machine_arn, None, {})
        ended = await engine.wait(info.arn)
        spent = time.process_time() - begun
        await engine.close()
    assert ended.status == "SUCCEEDED", ended
    return 1000 * spent / items


def start_s() -> tuple[float, float]:
    """Wall seconds from the start of the interpreter's work to a twin that listens, and to the first function's answer."""
    with tempfile.TemporaryDirectory() as root:
        cost = cost_of([sys.executable, "-c", START, root])
    assert cost.code == 0, cost.output
    listening, answered = (float(word) for word in cost.output.split()[-2:])
    return listening, answered


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    print(f"{machine()}, median of {repeat}\n\n| what | measured | target |\n|---|---|---|")
    starts = [start_s() for _ in range(repeat)]
    print(f"| twin listens after | {median(start for start, _ in starts):.2f} s | 2 s |")
    print(f"| first function has answered after | {median(answer for _, answer in starts):.2f} s | |")
    for items in (500, 5_000, 20_000):
        cost = median(asyncio.run(map_ms(items)) for _ in range(min(repeat, 3)))
        print(f"| engine, CPU per item of a map of {items:,} Lambda tasks | {cost:.2f} ms | 10 ms |", flush=True)


if __name__ == "__main__":
    main()
