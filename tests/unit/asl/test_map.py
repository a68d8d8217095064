"""The Map state, inline and distributed, against the ASL specification and the Step Functions developer guide."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.asl.world import World, done, ending, failed, states, task


def inline(processor: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return ending({"Type": "Map", "ItemProcessor": processor, **fields})


def distributed(processor: dict[str, Any], **fields: Any) -> dict[str, Any]:
    config = {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    return ending({"Type": "Map", "Label": "Jobs", "ItemProcessor": {"ProcessorConfig": config, **processor}, **fields})


def reader(kind: str, key: str = "jobs") -> dict[str, Any]:
    return {
        "Resource": "arn:aws:states:::s3:getObject",
        "ReaderConfig": {"InputType": kind},
        "Arguments": {"Bucket": "work", "Key": key},
    }


def writer(**config: str) -> dict[str, Any]:
    place = {"Resource": "arn:aws:states:::s3:putObject", "Arguments": {"Bucket": "work", "Prefix": "out/map"}}
    return {**place, "WriterConfig": config} if config else place


def odd_fails(item: int) -> int:
    if item % 2:
        raise failed("Odd", f"{item} is odd")
    return item * 10


def test_inline_results_come_in_item_order_whatever_ends_first(tmp_path: Path) -> None:
    """ASL, Map State: the result is an array with the output of each iteration, in the order of the items."""

    async def slower_first(item: int) -> int:
        await asyncio.sleep(0.01 * (3 - item))
        return item * 2

    world = World(tmp_path, {"f": slower_first})
    assert world.play(states(Each=inline(states(Do=task()), Items="{% [0, 1, 2] %}"))).output == [0, 2, 4]


def test_the_item_selector_sees_index_value_and_input(tmp_path: Path) -> None:
    """Developer guide, ItemSelector: overrides the iteration's input; $states.context.Map.Item has Index and Value."""
    selector = {
        "i": "{% $states.context.Map.Item.Index %}",
        "v": "{% $states.context.Map.Item.Value.name %}",
        "all": "{% $states.input.x %}",
    }
    definition = states(Each=inline(states(Do=done()), Items="{% $states.input.items %}", ItemSelector=selector))
    info = World(tmp_path).play(definition, {"items": [{"name": "a"}, {"name": "b"}], "x": 7})
    assert info.output == [{"i": 0, "v": "a", "all": 7}, {"i": 1, "v": "b", "all": 7}]


def test_iterations_read_outer_variables_and_their_own_do_not_leak(tmp_path: Path) -> None:
    """Developer guide, variable scope: an inner scope reads outer variables; what it assigns ends with the iteration."""
    definition = states(
        Set={"Type": "Pass", "Assign": {"base": 100}, "Next": "Each"},
        Each=inline(
            {
                "StartAt": "Add",
                "States": {
                    "Add": {"Type": "Pass", "Assign": {"total": "{% $base + $states.input %}"}, "Next": "Give"},
                    "Give": done("{% $total %}"),
                },
            },
            Items=[1, 2],
            Next="Look",
        ),
        Look=done("{% [$states.input, $exists($total)] %}"),
    )
    assert World(tmp_path).play(definition).output == [101, 102, False]


def test_inline_history_names_the_iterations(tmp_path: Path) -> None:
    """API reference, HistoryEvent: MapStateStarted carries the length, iterations carry name and index."""
    world = World(tmp_path)
    info = world.play(states(Each=inline(states(Do=done()), Items=[5], MaxConcurrency=1)))
    assert world.events(info.arn) == [
        "ExecutionStarted",
        "MapStateEntered",
        "MapStateStarted",
        "MapIterationStarted",
        "PassStateEntered",
        "PassStateExited",
        "MapIterationSucceeded",
        "MapStateSucceeded",
        "MapStateExited",
        "ExecutionSucceeded",
    ]
    history = world.engine.history(info.arn)
    assert history[2]["mapStateStartedEventDetails"] == {"length": 1}
    assert history[6]["mapIterationSucceededEventDetails"] == {"name": "Each", "index": 0}


def test_a_failed_iteration_fails_the_map_and_stops_the_others(tmp_path: Path) -> None:
    """ASL, Map State: if any iteration fails, the Map state fails and all iterations are terminated; it can be caught."""
    stopped: list[int] = []

    async def work(item: int) -> int:
        if item == 0:
            raise failed("Bad")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.append(item)
            raise
        return item

    catch = [{"ErrorEquals": ["Bad"], "Next": "End"}]
    world = World(tmp_path, {"f": work})
    info = world.play(states(Each=inline(states(Do=task()), Items=[1, 0], Catch=catch), End=done("caught")))
    assert (info.output, stopped) == ("caught", [1])
    assert {"MapIterationFailed", "MapIterationAborted", "MapStateFailed"} <= set(world.events(info.arn))


def test_max_concurrency_bounds_the_iterations_at_once(tmp_path: Path) -> None:
    """ASL, Map State: MaxConcurrency is an upper bound on how many iterations run in parallel; it may be an expression."""
    running, most = 0, 0

    async def work(item: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return item

    each = distributed(states(Do=task()), Items="{% [1..20] %}", MaxConcurrency="{% 1 + 2 %}")
    assert World(tmp_path, {"f": work}).play(states(Each=each)).status == "SUCCEEDED"
    assert most == 3


@pytest.mark.parametrize("kind", ["JSONL", "JSON"])
def test_the_item_reader_reads_both_formats(tmp_path: Path, kind: str) -> None:
    """Developer guide, ItemReader: InputType JSON holds one array, JSONL one value a line."""
    world = World(tmp_path)
    items = [{"n": 1}, {"n": 2}, {"n": 3}]
    text = json.dumps(items) if kind == "JSON" else "".join(json.dumps(item) + "\n" for item in items)
    world.store.objects["jobs"] = text.encode()
    assert world.play(states(Each=distributed(states(Do=done("{% $states.input.n %}")), ItemReader=reader(kind)))).output == [
        1,
        2,
        3,
    ]


def test_an_item_list_that_is_missing_or_broken_fails_with_item_reader_failed(tmp_path: Path) -> None:
    """Developer guide, Error names: States.ItemReaderFailed: a Map state could not read all items from the source."""
    definition = states(Each=distributed(states(Do=done()), ItemReader=reader("JSONL")))
    missing = World(tmp_path / "missing").play(definition)
    torn = World(tmp_path / "torn")
    torn.store.objects["jobs"] = b'{"a": 1}\n{"b"'
    assert [missing.error, torn.play(definition).error] == ["States.ItemReaderFailed"] * 2


def test_children_see_no_variables_of_the_parent(tmp_path: Path) -> None:
    """Developer guide, variable scope: states inside a Distributed Map cannot reference variables of outer scopes."""
    each = distributed(states(Do=done("{% $exists($base) %}")), Items=[1])
    info = World(tmp_path).play(states(Set={"Type": "Pass", "Assign": {"base": 1}, "Next": "Each"}, Each=each))
    assert info.output == [False]


def test_children_are_executions_with_context_and_history(tmp_path: Path) -> None:
    """Developer guide, Distributed mode: each iteration is a child workflow execution with its own history."""
    context = "{% [$states.context.Execution.Id, $states.context.Execution.Name, $states.context.StateMachine.Id] %}"
    world = World(tmp_path)
    info = world.play(states(Each=distributed(states(Do=done(context)), Items=["x"])))
    assert world.events(info.arn) == [
        "ExecutionStarted",
        "MapStateEntered",
        "MapStateStarted",
        "MapRunStarted",
        "MapRunSucceeded",
        "MapStateSucceeded",
        "MapStateExited",
        "ExecutionSucceeded",
    ]
    [run] = world.engine.map_runs(info.arn)
    uid = run["mapRunArn"].rsplit(":", 1)[1]
    assert run["mapRunArn"] == f"arn:aws:states:local:000000000000:mapRun:machine/Jobs:{uid}"
    child = f"arn:aws:states:local:000000000000:execution:machine/Jobs:{uid}-0"
    assert info.output == [[child, f"{uid}-0", "arn:aws:states:local:000000000000:stateMachine:machine/Jobs"]]
    assert world.engine.describe(child).input == "x"
    assert world.engine.describe(child).map_run_arn == run["mapRunArn"]
    assert world.events(child) == ["ExecutionStarted", "PassStateEntered", "PassStateExited", "ExecutionSucceeded"]
    assert [run["itemCounts"][name] for name in ("total", "succeeded", "failed", "pending", "running")] == [1, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("tolerance", "status"),
    [
        ({}, "FAILED"),
        ({"ToleratedFailureCount": 2}, "SUCCEEDED"),
        ({"ToleratedFailureCount": 1}, "FAILED"),
        ({"ToleratedFailureCount": "{% 1 + 1 %}"}, "SUCCEEDED"),
        ({"ToleratedFailurePercentage": 50}, "SUCCEEDED"),
        ({"ToleratedFailurePercentage": 49}, "FAILED"),
        ({"ToleratedFailurePercentage": "{% 50 %}"}, "SUCCEEDED"),
        ({"ToleratedFailurePercentage": 50, "ToleratedFailureCount": 1}, "FAILED"),
    ],
)
def test_more_failures_than_tolerated_fail_the_map_run(tmp_path: Path, tolerance: dict[str, Any], status: str) -> None:
    """Developer guide, failure threshold: the Map Run fails as soon as failures exceed the count or the percentage; by
    default any failure fails it. Items 0..3: two of four fail."""
    world = World(tmp_path, {"f": odd_fails})
    info = world.play(states(Each=distributed(states(Do=task()), Items="{% [0..3] %}", MaxConcurrency=1, **tolerance)))
    assert info.status == status
    assert info.error == (None if status == "SUCCEEDED" else "States.ExceedToleratedFailureThreshold")


def test_a_tolerated_failure_stands_in_the_output_as_its_metadata(tmp_path: Path) -> None:
    """Developer guide, ResultWriter: a failed child's result is returned unchanged, as with Transformation NONE."""
    world = World(tmp_path, {"f": odd_fails})
    info = world.play(states(Each=distributed(states(Do=task()), Items=[0, 1, 2], ToleratedFailureCount=1)))
    assert [info.output[0], info.output[2]] == [0, 20]
    assert {key: info.output[1][key] for key in ("Status", "Error", "Cause", "Input")} == {
        "Status": "FAILED",
        "Error": "Odd",
        "Cause": "1 is odd",
        "Input": "1",
    }


def test_the_result_writer_writes_manifest_and_files_like_aws(tmp_path: Path) -> None:
    """Developer guide, ResultWriter: PREFIX/UUID/manifest.json with the result files by status; the state's result is
    MapRunArn and ResultWriterDetails. COMPACT + JSONL: one child output a line."""
    world = World(tmp_path, {"f": odd_fails})
    write = writer(OutputType="JSONL", Transformation="COMPACT")
    info = world.play(states(Each=distributed(states(Do=task()), Items=[0, 1, 2], ToleratedFailureCount=1, ResultWriter=write)))
    uid = info.output["MapRunArn"].rsplit(":", 1)[1]
    assert info.output["ResultWriterDetails"] == {"Bucket": "work", "Key": f"out/map/{uid}/manifest.json"}
    assert world.store.json(f"out/map/{uid}/manifest.json") == {
        "DestinationBucket": "work",
        "MapRunArn": info.output["MapRunArn"],
        "ResultFiles": {
            "FAILED": [
                {"Key": f"out/map/{uid}/FAILED_0.jsonl", "Size": len(world.store.objects[f"out/map/{uid}/FAILED_0.jsonl"])}
            ],
            "PENDING": [],
            "SUCCEEDED": [{"Key": f"out/map/{uid}/SUCCEEDED_0.jsonl", "Size": 5}],
        },
    }
    assert world.store.lines(f"out/map/{uid}/SUCCEEDED_0.jsonl") == [0, 20]
    [bad] = world.store.lines(f"out/map/{uid}/FAILED_0.jsonl")
    assert (bad["Error"], bad["Status"], bad["Name"]) == ("Odd", "FAILED", f"{uid}-1")


def test_without_writer_config_the_files_hold_the_metadata(tmp_path: Path) -> None:
    """Developer guide, ResultWriter: when only the S3 place is given, Transformation is NONE and the format JSON."""
    world = World(tmp_path)
    info = world.play(states(Each=distributed(states(Do=done()), Items=["a"], ResultWriter=writer())))
    uid = info.output["MapRunArn"].rsplit(":", 1)[1]
    [entry] = world.store.json(f"out/map/{uid}/SUCCEEDED_0.json")
    assert sorted(entry) == [
        "ExecutionArn",
        "Input",
        "InputDetails",
        "Name",
        "Output",
        "OutputDetails",
        "RedriveCount",
        "RedriveStatus",
        "StartDate",
        "StateMachineArn",
        "Status",
        "StopDate",
    ]
    assert (entry["Input"], entry["Output"], entry["Status"]) == ('"a"', '"a"', "SUCCEEDED")


def test_flatten_joins_arrays(tmp_path: Path) -> None:
    """Developer guide, ResultWriter: FLATTEN flattens a child's array; without S3 the result is the state's output."""
    write = {"WriterConfig": {"OutputType": "JSON", "Transformation": "FLATTEN"}}
    definition = states(Each=distributed(states(Do=done()), Items=[[1, 2], [3], 4], ResultWriter=write))
    assert World(tmp_path).play(definition).output == [1, 2, 3, 4]


def test_a_map_that_fails_may_be_retried_as_a_new_run(tmp_path: Path) -> None:
    """ASL: Map may have Retry; the developer guide starts a new Map Run for it."""
    world = World(tmp_path, {"f": [failed("Bad"), 1]})
    rule = [{"ErrorEquals": ["States.ExceedToleratedFailureThreshold"]}]
    info = world.play(states(Each=distributed(states(Do=task()), Items=[1], Retry=rule)))
    assert info.output == [1]
    assert sorted(run["status"] for run in world.engine.map_runs(info.arn)) == ["FAILED", "SUCCEEDED"]


def test_five_thousand_items_cost_little_each(tmp_path: Path) -> None:
    """Tilery's own bound: constant cost per item, far below 10 ms a task."""
    world = World(tmp_path)
    world.store.objects["jobs"] = b"".join(b'{"n": %d}\n' % n for n in range(5000))
    each = distributed(
        states(Do=task()), ItemReader=reader("JSONL"), ResultWriter=writer(Transformation="COMPACT"), MaxConcurrency=50
    )
    info = world.play(states(Each=each))
    assert info.status == "SUCCEEDED"
    assert len(world.calls) == 5000
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 3  # the execution, the map run, the definition
