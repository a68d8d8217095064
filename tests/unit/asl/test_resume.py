"""Killed at any moment, an execution goes on without repeating what its journal holds (DESIGN section 8)."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.unit.asl.test_map import distributed, inline, reader, writer
from tests.unit.asl.world import World, done, failed, states, task, within
from twin.faults import ExecutionAlreadyExists
from twin.journal import Journal, read

PROCESSOR = {
    "StartAt": "Half",
    "States": {
        "Half": task("half", Next="Other half"),
        "Other half": task("other"),
    },
}
PIPELINE = states(
    First=task("first", Assign={"kept": "{% $states.result.Payload %}"}, Next="Flaky"),
    Flaky=task("flaky", Retry=[{"ErrorEquals": ["Busy"]}], Next="Inline"),
    Inline=inline(states(Small=task("small")), Items=[1, 2], MaxConcurrency=1, Next="Choose"),
    Choose={"Type": "Choice", "Choices": [{"Condition": "{% $kept = {} %}", "Next": "Jobs"}], "Default": "Never"},
    Never={"Type": "Fail"},
    Jobs=distributed(
        PROCESSOR,
        ItemReader=reader("JSONL"),
        MaxConcurrency=1,
        ToleratedFailureCount=1,
        ResultWriter=writer(OutputType="JSONL", Transformation="COMPACT"),
        Next="Caught",
    ),
    Caught=task("broken", Catch=[{"ErrorEquals": ["Broken"], "Output": "{% $kept %}", "Next": "Last"}], Next="Last"),
    Last=task("last"),
)


def answers() -> dict[str, Any]:
    """Item 20 always fails, `flaky` fails once, `broken` always."""

    def other(item: int) -> int:
        if item == 20:
            raise failed("Bad")
        return item + 1

    return {"flaky": [failed("Busy"), "done"], "other": other, "broken": failed("Broken"), "last": "the end"}


def new_world(root: Path) -> World:
    world = World(root, answers())
    world.store.objects["jobs"] = b"10\n20\n30\n"
    return world


def resume(world: World) -> Any:
    async def whole() -> Any:
        [arn] = await world.engine.resume()
        return await world.engine.wait(arn)

    return within(whole())


def journals(root: Path) -> list[Path]:
    """The journal of the execution, then that of its map run."""
    return sorted((root / "twin" / "executions").rglob("*.jsonl"), key=lambda path: len(path.parts))


def succeeded_calls(root: Path) -> Counter[str]:
    """State and item of every task whose success stands in a journal under this root."""
    found: Counter[str] = Counter()
    for path in journals(root):
        state: dict[str, str] = {}
        for record in read(path):
            place = f"{path.parent.suffix}{record['p']}"
            if record["type"].endswith("StateEntered"):
                state[place] = record["state"]
            if record["type"] == "TaskSucceeded":
                found[f"{state[place]} {place}"] += 1
    return found


def lines_in_order(root: Path) -> list[tuple[float, int, bytes]]:
    """Every line of every journal of a run, in the order of time (the clock of the tests ticks with every record)."""
    lines = [
        (json.loads(line)["t"], number, line)
        for number, path in enumerate(journals(root))
        for line in path.read_bytes().splitlines(keepends=True)
    ]
    return sorted(lines, key=lambda line: line[0])


class Ticking:
    """A fake clock's `now` that never says the same time twice, so that two journals can be put in one order."""

    def __init__(self, world: World) -> None:
        self.clock, self.ticks = world.clock, 0
        world.clock.now = self.now  # type: ignore[method-assign]

    def now(self) -> float:
        self.ticks += 1
        return self.clock.time + self.ticks * 1e-4


def test_a_run_cut_after_any_record_ends_the_same_and_repeats_no_journaled_success(tmp_path: Path) -> None:
    """Kill-resume: for every prefix of what was journaled, a fresh engine reaches the same output, and no task whose success
    is in that prefix is called again."""
    whole = new_world(tmp_path / "whole")
    Ticking(whole)
    expected = whole.play(PIPELINE)
    assert (expected.status, expected.output) == ("SUCCEEDED", "the end")
    all_calls = succeeded_calls(whole.root)
    files = journals(whole.root)
    lines = lines_in_order(whole.root)
    assert len(lines) > 60
    for cut in range(1, len(lines)):
        root = tmp_path / f"cut{cut}"
        world = new_world(root)
        world.clock.time = whole.clock.time + 1
        world.register(PIPELINE)
        for number, path in enumerate(files):
            kept = b"".join(line for _, file, line in lines[:cut] if file == number)
            if kept:
                copy = root / path.relative_to(whole.root)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(kept)
        if any(b'"TaskFailed"' in line and b"Busy" in line for _, _, line in lines[:cut]):
            world.answers["flaky"] = "done"
        before = succeeded_calls(root)
        info = resume(world)
        assert (info.status, info.output) == ("SUCCEEDED", "the end"), f"cut after {lines[cut - 1]}"
        assert succeeded_calls(root) == all_calls, f"cut after {lines[cut - 1]}"
        called = Counter(function for function, _ in world.calls if function != "broken")
        fails = world.called("other").count(20) + (1 if world.answers["flaky"] != "done" and "flaky" in called else 0)
        tried_again = called["flaky"] - 1 if world.answers["flaky"] == ["done"] else 0
        assert sum(called.values()) == sum(all_calls.values()) - sum(before.values()) + max(
            world.called("other").count(20) + tried_again, 0
        ), (cut, fails, called)
        shutil.rmtree(root)


def test_a_torn_last_line_is_left_out_and_cut_off(tmp_path: Path) -> None:
    """A kill in the middle of a write leaves half a line; the journal reads as if it had never been begun."""
    path = tmp_path / "run.jsonl"
    journal = Journal(path)
    journal.append({"type": "A", "t": 1, "p": []})
    journal.close()
    with path.open("ab") as file:
        file.write(b'{"type":"B","t":')
    assert [record["type"] for record in read(path)] == ["A"]
    again = Journal(path)
    again.append({"type": "C", "t": 2, "p": []})
    again.close()
    assert [record["type"] for record in read(path)] == ["A", "C"]


def test_results_reach_the_file_before_the_next_task_starts(tmp_path: Path) -> None:
    """A killed process loses no result that was followed by anything: the success is in the file when the next call comes."""
    seen: list[list[str]] = []
    world = World(tmp_path)
    world.answers["two"] = lambda payload: seen.append([record["type"] for record in read(journals(tmp_path)[0])])
    world.play(states(One=task("one", Next="Two"), Two=task("two")))
    assert seen[0].count("TaskSucceeded") == 1
    assert seen[0][-2:] == ["TaskScheduled", "TaskStarted"]


def test_the_same_name_and_input_is_the_same_execution_while_it_runs(tmp_path: Path) -> None:
    """API reference, StartExecution: same name and input as a running execution succeeds and returns it; another input, or
    a closed execution, raises ExecutionAlreadyExists."""
    world = World(tmp_path)
    world.register(states(Do=task()))

    async def whole() -> None:
        first = await world.engine.start("machine", "run", {"a": 1})
        assert (await world.engine.start("machine", "run", {"a": 1})).arn == first.arn
        with pytest.raises(ExecutionAlreadyExists):
            await world.engine.start("machine", "run", {"a": 2})
        await world.engine.wait(first.arn)
        with pytest.raises(ExecutionAlreadyExists):
            await world.engine.start("machine", "run", {"a": 1})

    within(whole())
    assert len(world.calls) == 1


def test_a_restarted_engine_knows_what_happened(tmp_path: Path) -> None:
    """describe, executions and history are read from the journals alone."""
    world = World(tmp_path, {"f": failed("Bad", "why")})
    good = world.play(states(End=done("fine")), name="good")
    bad = world.play(states(Do=task()), name="bad")
    events = world.engine.history(bad.arn)
    engine = world.fresh_engine()
    assert engine.describe(good.arn) == good
    assert engine.describe(bad.arn) == bad
    assert engine.history(bad.arn) == events
    assert [info.name for info in engine.executions("machine", "FAILED")] == ["bad"]
    assert within(engine.resume()) == []
