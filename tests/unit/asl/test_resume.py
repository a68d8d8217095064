"""Killed at any moment, an execution goes on without repeating what its journal holds (DESIGN section 8)."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.unit.asl.test_map import distributed, inline, reader, writer
from tests.unit.asl.world import World, done, failed, states, task, within
from twin import engine
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


def successes(root: Path) -> Counter[str]:
    """Function and payload of every task whose success stands in a journal under this root."""
    found: Counter[str] = Counter()
    for path in journals(root):
        scheduled: dict[str, str] = {}
        for record in read(path):
            place = str(record["p"])
            if record["type"] == "TaskScheduled":
                scheduled[place] = call_text(record["arguments"]["FunctionName"], record["arguments"]["Payload"])
            elif record["type"] == "TaskSucceeded":
                found[scheduled[place]] += 1
    return found


def call_text(function: str, payload: Any) -> str:
    return f"{function}({json.dumps(payload)})"


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


def cut_copy(whole: Path, lines: list[tuple[float, int, bytes]], root: Path) -> None:
    """Write the journals of `whole` to another root as they were when only these lines had been written."""
    for number, path in enumerate(journals(whole)):
        kept = b"".join(line for _, file, line in lines if file == number)
        if kept:
            copy = root / path.relative_to(whole)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(kept)


def test_a_run_cut_after_any_record_ends_the_same_and_repeats_no_journaled_success(tmp_path: Path) -> None:
    """Kill-resume: for every prefix of what was journaled, a fresh engine reaches the same output, and no task whose success
    is in that prefix is called again."""
    whole = new_world(tmp_path / "whole")
    Ticking(whole)
    expected = whole.play(PIPELINE)
    assert (expected.status, expected.output) == ("SUCCEEDED", "the end")
    lines = lines_in_order(whole.root)
    assert len(lines) > 80
    for cut in range(1, len(lines)):
        world = new_world(tmp_path / f"cut{cut}")
        world.clock.time = whole.clock.time + 1
        world.register(PIPELINE)
        cut_copy(whole.root, lines[:cut], world.root)
        if any(b'"error":"Busy"' in line for _, _, line in lines[:cut]):
            world.answers["flaky"] = "done"
        before = successes(world.root)
        info = resume(world)
        assert (info.status, info.output) == ("SUCCEEDED", "the end"), lines[cut - 1]
        repeated = [call_text(*call) for call in world.calls if call_text(*call) in before]
        assert repeated == [], lines[cut - 1]
        assert successes(world.root) == successes(whole.root), lines[cut - 1]
        written = [data for key, data in world.store.objects.items() if "SUCCEEDED" in key]
        assert written in ([b"11\n31\n"], []), "results are written once, or were written before the cut"


def test_a_redrive_cut_after_any_record_goes_on_as_a_redrive(tmp_path: Path) -> None:
    """Kill-resume of a redriven run: finished children stay finished, failed ones run again, whatever was cut."""
    whole = new_world(tmp_path / "whole")
    Ticking(whole)
    each = distributed(states(Do=task("other")), Items="{% [10, 20, 30] %}", MaxConcurrency=1, Next="Last")
    machine = states(First=task("first", Next="Each"), Each=each, Last=task("last"))
    arn = whole.play(machine).arn
    assert whole.engine.describe(arn).status == "FAILED"
    start = len(lines_in_order(whole.root))
    whole.answers["other"] = lambda item: item + 1
    assert whole.redrive(arn).output == "the end"
    lines = lines_in_order(whole.root)
    for cut in range(start + 1, len(lines)):
        world = new_world(tmp_path / f"cut{cut}")
        world.answers["other"] = lambda item: item + 1
        world.clock.time = whole.clock.time + 1
        world.register(machine)
        cut_copy(whole.root, lines[:cut], world.root)
        before = successes(world.root)
        info = resume(world)
        assert (info.status, info.output, info.redrive_count) == ("SUCCEEDED", "the end", 1), lines[cut - 1]
        assert [call_text(*call) for call in world.calls if call_text(*call) in before] == [], lines[cut - 1]
        assert successes(world.root) == successes(whole.root), lines[cut - 1]


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


def test_express_executions_leave_a_bounded_history_also_over_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One comes for each upload, for years. Standard executions stay: their names keep an upload from being done twice."""
    monkeypatch.setattr(engine, "EXPRESS_KEPT", 3)
    world = World(tmp_path)

    async def play(count: int) -> list[str]:
        await world.engine.resume()
        world.register(states(End=done()), kind="EXPRESS", name="quick")
        world.register(states(End=done()), name="machine")
        for number in range(count):
            await world.engine.wait((await world.engine.start("machine", f"run-{world.clock.time}", {})).arn)
            await world.engine.wait((await world.engine.start("quick", f"upload-{number}", {})).arn)
            world.clock.time += 1
        return [info.name for info in world.engine.executions("quick")]

    assert within(play(5)) == ["upload-4", "upload-3", "upload-2"]
    world.fresh_engine()
    assert within(play(1)) == ["upload-0", "upload-4", "upload-3"]
    assert len(list((tmp_path / "twin" / "executions" / "quick").iterdir())) == 3
    assert len(world.engine.executions("machine")) == 6
