"""The same commands against AWS: a stack's outputs, buckets and Step Functions, as moto's server plays them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from cli.main import invoke
from cli.target import StackTarget
from tilery import keys, manifest, registry
from tilery.store.port import Store

STACK = "Tilery-dev-App"
BUCKETS = {"DropBucket": "t-drop", "WorkBucket": "t-work", "ResultsBucket": "t-results"}
Tilery = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def aws() -> Iterator[None]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "x")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        patch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        patch.setenv("AWS_REGION", "eu-west-1")
        _deploy()
        yield
    server.stop()


def _deploy() -> None:
    buckets = {name: {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": bucket}} for name, bucket in BUCKETS.items()}
    buckets["DropBucket"]["Properties"]["VersioningConfiguration"] = {"Status": "Enabled"}  # type: ignore[index]
    definition = {"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}
    machine = boto3.client("stepfunctions").create_state_machine(
        name="tilery-sums", definition=json.dumps(definition), roleArn="arn:aws:iam::123456789012:role/pipeline"
    )
    outputs = {name: {"Value": bucket} for name, bucket in BUCKETS.items()}
    template = {"Resources": buckets, "Outputs": {**outputs, "SumsMachine": {"Value": machine["stateMachineArn"]}}}
    boto3.client("cloudformation").create_stack(StackName=STACK, TemplateBody=json.dumps(template))


@pytest.fixture
def tilery(aws: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tilery:
    monkeypatch.setenv(registry.EXTRA, json.dumps({"sums": "tests.toys.sums:Sums"}))
    monkeypatch.setenv("TILERY_STACK", STACK)
    monkeypatch.setenv("TILERY_TENANT", "acme")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def run(*arguments: str) -> tuple[int, str, str]:
        code = invoke(list(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def store(aws: None) -> Store:
    return StackTarget(STACK).store


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    path = tmp_path / f"{tmp_path.name}.txt"
    path.write_text("1\n2\n3\n")
    return path


def start(store: Store, key: str) -> str:
    """What intake and ingest do on AWS when the upload is there."""
    entry = store.head(key)
    assert entry is not None
    given = manifest.receive(store, BUCKETS["DropBucket"], key, entry.version)
    boto3.client("stepfunctions").start_execution(
        stateMachineArn=StackTarget(STACK).machine_arn("sums"),
        name=given.run_id,
        input=json.dumps(manifest.execution_input(given)),
    )
    return given.run_id


def started(tilery: Tilery, store: Store, numbers: Path) -> str:
    tilery("drop", "sums", str(numbers))
    return start(store, f"drop/acme/sums/{numbers.name}")


def test_drop_uploads_one_file_and_names_the_run_that_it_starts(tilery: Tilery, store: Store, numbers: Path) -> None:
    code, out, _ = tilery("drop", "sums", str(numbers))

    assert code == 0
    assert store.get(f"drop/acme/sums/{numbers.name}") == numbers.read_bytes()
    assert out.strip() == start(store, f"drop/acme/sums/{numbers.name}")


def test_drop_with_options_uploads_a_dataset_and_its_ready_file_last(tilery: Tilery, store: Store, numbers: Path) -> None:
    code, out, _ = tilery("drop", "sums", str(numbers), "--set", "lines=2", "--name", "box")

    assert code == 0
    ready = "drop/acme/sums/box/_READY.json"
    assert json.loads(store.get(ready))["options"] == {"lines": 2}
    assert out.strip() == start(store, ready)
    assert manifest.read(store, "acme", out.strip()).refused == ""


def test_a_workload_that_the_stack_does_not_run_is_refused_before_the_upload(
    tilery: Tilery, store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "points.laz"
    file.write_bytes(b"x" * 100)

    code, _, err = tilery("drop", "pointcloud", str(file))

    assert (code, f"the stack {STACK} does not run 'pointcloud'; it runs: sums" in err) == (2, True)
    assert store.head("drop/acme/pointcloud/points.laz") is None


def test_runs_and_show_have_json_for_scripts(tilery: Tilery, store: Store, numbers: Path) -> None:
    run_id = started(tilery, store, numbers)

    code, out, _ = tilery("runs", "--json")
    assert code == 0
    (line,) = [run for run in json.loads(out) if run["run_id"] == run_id]
    assert line["status"] == "RUNNING"
    code, out, _ = tilery("show", run_id[:10], "--json")
    about: dict[str, Any] = json.loads(out)
    assert about["execution"]["status"] == "RUNNING"
    assert about["manifest"]["sources"][0]["name"] == numbers.name


def test_runs_and_show_read_well(tilery: Tilery, store: Store, numbers: Path) -> None:
    run_id = started(tilery, store, numbers)

    assert f"{run_id[:8]}  sums/{numbers.name}" in tilery("runs")[1]
    assert f"sums/{numbers.name}  RUNNING" in tilery("show", run_id)[1]


def test_pause_asks_and_resume_takes_it_back(tilery: Tilery, store: Store, numbers: Path) -> None:
    run_id = started(tilery, store, numbers)
    marker = keys.run("acme", run_id, "pause.json")

    assert tilery("pause", run_id)[0] == 0
    assert store.head(marker) is not None
    assert tilery("resume", run_id)[0] == 0
    assert store.head(marker) is None


def test_stop_stops_once_and_then_says_what_the_run_is(tilery: Tilery, store: Store, numbers: Path) -> None:
    run_id = started(tilery, store, numbers)

    code, _, err = tilery("stop", run_id)
    assert code == 0
    assert f"tilery redrive {run_id[:8]} --stack {STACK}" in err
    code, _, err = tilery("stop", run_id)
    assert code == 2
    assert "is ABORTED; only a running run can be stopped" in err


def test_a_running_run_cannot_be_redriven(tilery: Tilery, store: Store, numbers: Path) -> None:
    run_id = started(tilery, store, numbers)
    code, _, err = tilery("redrive", run_id)

    assert code == 2
    assert "is RUNNING" in err


def test_redo_starts_a_new_run_with_the_changed_option(tilery: Tilery, store: Store, numbers: Path) -> None:
    run_id = started(tilery, store, numbers)
    code, out, _ = tilery("redo", run_id, "--set", "scale=3")

    assert code == 0
    assert out.strip() != run_id
    assert manifest.read(store, "acme", out.strip()).options == {"scale": 3}
    arn = StackTarget(STACK).execution_arn("sums", out.strip())
    assert boto3.client("stepfunctions").describe_execution(executionArn=arn)["status"] == "RUNNING"


def test_redo_from_a_stage_that_is_none_is_refused(tilery: Tilery, store: Store, numbers: Path) -> None:
    run_id = started(tilery, store, numbers)
    code, _, err = tilery("redo", run_id, "--from", "polish")

    assert code == 2
    assert "sums has no stage 'polish'; choose one of: tile, process, merge, finish" in err


def test_get_waits_for_nobody_and_brings_what_is_there(tilery: Tilery, store: Store, numbers: Path, tmp_path: Path) -> None:
    run_id = started(tilery, store, numbers)
    out_folder = tmp_path / "out"

    code, _, err = tilery("get", run_id, "--out", str(out_folder))
    assert code == 2
    assert "has no products yet" in err
    folder = keys.result("acme", "sums", numbers.name, run_id)
    store.put(f"{folder}/sums.json", b"[14]")
    record = {"status": "PARTIAL", "products": [{"kind": "sums", "path": "sums.json", "bytes": 4}]}
    store.put(f"{folder}/run.json", json.dumps(record).encode())
    code, out, _ = tilery("get", run_id, "--out", str(out_folder))
    assert code == 3
    assert out.splitlines()[-1] == str(out_folder / "run.json")
    assert (out_folder / "sums.json").read_bytes() == b"[14]"


def test_an_unknown_stack_is_bad_input(tilery: Tilery) -> None:
    code, _, err = tilery("runs", "--stack", "Nowhere")

    assert code == 2
    assert "there is no stack 'Nowhere'" in err
