"""`make smoke` against moto: a thread does what the deployed system does, with the real library."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from benchmarks import smoke
from cli.target import StackTarget
from tests import machine
from tests.data import autzen_trim
from tilery import explain, keys, manifest, publishing, sizing
from tilery.outcomes import BadInput
from tilery.store.port import Store
from tilery.whole import whole

STACK = "tilery-dev-app"
BUCKETS = {"DropBucket": "s-drop", "WorkBucket": "s-work", "ResultsBucket": "s-results"}


@pytest.fixture(scope="module")
def aws() -> Iterator[None]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "x")
        for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
            patch.setenv(name, "eu-west-1")
        patch.setenv("TILERY_LANES", "lambda,fargate")
        deploy()
        yield
    server.stop()


def deploy() -> None:
    """A stack with the outputs of ours, and one without."""
    buckets: dict[str, Any] = {
        name: {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": bucket}} for name, bucket in BUCKETS.items()
    }
    machine = boto3.client("stepfunctions").create_state_machine(
        name="tilery-dev-pointcloud",
        definition=json.dumps({"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}),
        roleArn="arn:aws:iam::123456789012:role/pipeline",
    )
    values = {
        **BUCKETS,
        "PointcloudMachine": machine["stateMachineArn"],
        "IngestConsole": "https://console",
        "DeadLetterQueue": "https://queue",
    }
    outputs = {name: {"Value": value} for name, value in values.items()}
    client = boto3.client("cloudformation")
    client.create_stack(StackName=STACK, TemplateBody=json.dumps({"Resources": buckets, "Outputs": outputs}))
    versioned: Any = {"Bucket": BUCKETS["DropBucket"], "VersioningConfiguration": {"Status": "Enabled"}}
    boto3.client("s3").put_bucket_versioning(**versioned)  # moto's CloudFormation leaves it out
    other = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}
    client.create_stack(StackName="somebody-elses", TemplateBody=json.dumps(other))


@pytest.fixture
def system(aws: None) -> Iterator[None]:
    """The deployed system, as a thread."""
    ended, seen = threading.Event(), set[str]()
    store = StackTarget(STACK).store

    def live() -> None:
        while not ended.wait(0.05):
            for entry in list(store.list("drop/smoke/pointcloud/")):
                if entry.version not in seen:
                    seen.add(entry.version)
                    if entry.key.count("/") == 4 and not entry.key.endswith(keys.READY):
                        continue
                    work(store, entry.key, entry.version)

    thread = threading.Thread(target=live)
    for entry in store.list("drop/smoke/pointcloud/"):
        seen.add(entry.version)
    thread.start()
    yield
    ended.set()
    thread.join()


def work(store: Store, key: str, version: str) -> None:
    given = manifest.receive(store, BUCKETS["DropBucket"], key, version)
    try:
        run = sizing.size(store, given.tenant, given.run_id)
        if run.lane == "lambda":
            whole(store, given.tenant, given.run_id)
        machine.every_stage(store, given.run_id, given.tenant)
        publishing.publish(store, given.tenant, given.run_id)
    except BadInput as problem:
        explain.explain(lambda tenant: store, Failed(given.run_id, str(problem)), "arn")


class Failed:
    """Step Functions, describing the execution that failed."""

    def __init__(self, run_id: str, sentence: str) -> None:
        cause = json.dumps({"errorType": "BadInput", "errorMessage": sentence})
        given = json.dumps({"tenant": "smoke"})
        self.answer = {"name": run_id, "status": "FAILED", "input": given, "error": "BadInput", "cause": cause}

    def describe_execution(self, *, executionArn: str) -> dict[str, Any]:
        return self.answer


@pytest.mark.usefixtures("system")
def test_a_good_stack_passes_and_every_step_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    code = smoke.main(["--stack", STACK, "--file", str(autzen_trim())], poll_s=0.1)
    said = capsys.readouterr().out
    assert code == 0, said
    for line in (
        "upload a good file",
        "SUCCEEDED in lane lambda",
        "digests (sha256",
        "nothing but the classification",
        "is cut off",
    ):
        assert line in said
    assert "WRONG" not in said


@pytest.mark.usefixtures("aws")
def test_a_stack_that_starts_nothing_fails_with_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    code = smoke.main(["--stack", STACK, "--tenant", "nobody", "--minutes", "0.01", "--file", str(autzen_trim())], poll_s=0.1)
    said = capsys.readouterr().out
    assert code == 1
    assert said.count("WRONG") == 2
    assert "no run was started" in said
    assert "https://console" in said


@pytest.mark.usefixtures("system")
def test_a_product_that_is_not_what_run_json_says_is_found(tmp_path: Path) -> None:
    target, path = StackTarget(STACK), autzen_trim()
    tried = smoke.Smoke(target, "smoke", 60, poll_s=0.1)
    name = f"damaged-{time.time_ns()}.laz"
    run_id = tried.upload(path, name)
    ended = tried.wait(name, run_id)
    out = tmp_path / "products"
    smoke.products.deliver(target.store, tried.folder(name, run_id), ended, out)
    assert "products" in smoke.check_products(ended.record["products"], out)
    (dtm,) = [product for product in ended.record["products"] if product["kind"] == "dtm"]
    data = (out / dtm["path"]).read_bytes()
    (out / dtm["path"]).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(smoke.Wrong, match=r"the (sha256|crc64nvme) of dtm\.tif is"):
        smoke.check_products(ended.record["products"], out)
    (out / dtm["path"]).write_bytes(data[:-1])
    with pytest.raises(smoke.Wrong, match=r"bytes, run\.json says"):
        smoke.check_products(ended.record["products"], out)
    with pytest.raises(smoke.Wrong, match="lists no dtm"):
        smoke.check_products([one for one in ended.record["products"] if one["kind"] != "dtm"], out)


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("stack", "more", "sentence"),
    [
        ("no-such-stack", [], "there is no stack 'no-such-stack' in eu-west-1 of this account"),
        ("somebody-elses", [], "the stack somebody-elses has no output 'DropBucket'"),
        (STACK, ["--tenant", "ACME"], "the tenant 'ACME' must be"),
        (STACK, ["--file", "no.laz"], "there is no file no.laz"),
    ],
)
def test_a_stack_that_cannot_be_used_is_one_sentence_and_exit_code_2(
    stack: str, more: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert smoke.main(["--stack", stack, *more]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


def test_no_credentials_is_one_sentence_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    assert smoke.main(["--stack", STACK]) == 2
    assert "AWS cannot be asked" in capsys.readouterr().err


def test_the_stack_must_be_named() -> None:
    with pytest.raises(SystemExit) as ended:
        smoke.main([])
    assert ended.value.code == 2


def test_the_checksum_is_that_of_the_catalogue() -> None:
    """The check value of CRC-64/NVME in the CRC RevEng catalogue."""
    assert smoke.crc64nvme(b"123456789") == 0xAE8B14860A799888
    assert smoke.digest(b"123456789", "crc64nvme") == "rosUhgp5mIg="
    with pytest.raises(smoke.Wrong, match="md5"):
        smoke.digest(b"", "md5")
