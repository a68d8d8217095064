"""Each check of `tilery preflight`: the thing absent, not to be looked at, and present."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, cast

import boto3
import pytest
from botocore.stub import Stubber
from rich.console import Console

from cli import preflight
from cli.preflight import Check
from infra.settings import load


def stubbed(service: str, *answers: tuple[str, dict[str, Any] | str]) -> Any:
    """A client that answers these operations in order: a response, or the code of an error."""
    client = cast("Any", boto3).client(service, region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    stubber = Stubber(client)
    for operation, answer in answers:
        if isinstance(answer, str):
            stubber.add_client_error(operation, answer, f"because {answer}")
        else:
            stubber.add_response(operation, answer)
    stubber.activate()
    return client


def tool(returncode: int = 0, stdout: str = "", stderr: str = "") -> preflight.Execute:
    return lambda command: subprocess.CompletedProcess(command, returncode, stdout, stderr)


def missing(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    raise FileNotFoundError(command[0])


IDENTITY = {"Account": "123456789012", "Arn": "arn:aws:iam::123456789012:user/jo", "UserId": "x"}
ROLE = {
    "Role": {"Path": "/", "RoleName": "AWSServiceRoleForBatch", "RoleId": "A" * 16, "Arn": "a" * 20, "CreateDate": "2026-01-01"}
}


def vcpus(value: float) -> dict[str, Any]:
    return {"Quota": {"Value": value}}


def limits(value: int) -> dict[str, Any]:
    return {"AccountLimit": {"ConcurrentExecutions": value}}


def quota(*answers: tuple[str, dict[str, Any] | str]) -> Check:
    return preflight.quota(stubbed("service-quotas", *answers), *preflight.GPU_VCPUS[0], 16, 8)


def role(answer: dict[str, Any] | str) -> Check:
    return preflight.service_linked_role(stubbed("iam", ("get_role", answer)), "batch.amazonaws.com", "AWSServiceRoleForBatch")


def bootstrap(answer: dict[str, Any] | str) -> Check:
    return preflight.bootstrap(stubbed("ssm", ("get_parameter", answer)))


def concurrency(answer: dict[str, Any] | str) -> Check:
    return preflight.lambda_concurrency(stubbed("lambda", ("get_account_settings", answer)), 40)


CASES: list[tuple[str, Callable[[], Check], bool, str, str]] = [
    (
        "credentials refused",
        lambda: preflight.credentials(stubbed("sts", ("get_caller_identity", "ExpiredToken"))),
        False,
        "refused: because ExpiredToken",
        "aws configure sso",
    ),
    (
        "credentials present",
        lambda: preflight.credentials(stubbed("sts", ("get_caller_identity", IDENTITY))),
        True,
        "account 123456789012",
        "",
    ),
    ("bootstrap absent", lambda: bootstrap("ParameterNotFound"), False, "not bootstrapped", "npx cdk bootstrap"),
    ("bootstrap denied", lambda: bootstrap("AccessDeniedException"), False, "you may not read", "ssm:GetParameter"),
    ("bootstrap old", lambda: bootstrap({"Parameter": {"Value": "5"}}), False, "version 5, older than 6", "npx cdk bootstrap"),
    ("bootstrap present", lambda: bootstrap({"Parameter": {"Value": "30"}}), True, "version 30", ""),
    ("docker absent", lambda: preflight.docker(False, missing), False, "Docker is not installed", "name images that exist"),
    (
        "docker denied",
        lambda: preflight.docker(False, tool(1, stderr="permission denied: /var/run/docker.sock")),
        False,
        "permission denied",
        "start Docker",
    ),
    ("docker present", lambda: preflight.docker(False, tool(stdout="28.1\n")), True, "Docker 28.1", ""),
    ("images given", lambda: preflight.docker(True, missing), True, "not needed", ""),
    ("node absent", lambda: preflight.cdk_cli("2.1148.1", missing), False, "Node is not installed", "npm ci"),
    ("cdk absent", lambda: preflight.cdk_cli("2.1148.1", tool(1)), False, "not installed here", "npm ci"),
    ("cdk other", lambda: preflight.cdk_cli("2.1148.1", tool(stdout="3.0.0 (build x)")), False, "is 3.0.0, not", "npx cdk"),
    ("cdk present", lambda: preflight.cdk_cli("2.1148.1", tool(stdout="2.1148.1 (build x)")), True, "is 2.1148.1", ""),
    ("GPU quota zero", lambda: quota(("get_service_quota", vcpus(0))), False, "jobs of 8 would wait for ever", "L-DB2E81BA"),
    ("GPU quota small", lambda: quota(("get_service_quota", vcpus(8))), False, "use 16: more would wait", "L-DB2E81BA"),
    (
        "GPU quota never set",
        lambda: quota(("get_service_quota", "NoSuchResourceException"), ("get_aws_default_service_quota", vcpus(0))),
        False,
        "0 on-demand GPU",
        "--desired-value 16",
    ),
    (
        "GPU quota denied",
        lambda: quota(("get_service_quota", "AccessDeniedException")),
        False,
        "you may not read",
        "servicequotas:GetServiceQuota",
    ),
    ("GPU quota broken", lambda: quota(("get_service_quota", "ServiceException")), False, "could not read", "try again"),
    ("GPU quota present", lambda: quota(("get_service_quota", vcpus(64))), True, "64 on-demand GPU", ""),
    ("concurrency low", lambda: concurrency(limits(20)), False, "20 concurrent", "L-B99A9384"),
    (
        "a new account",
        lambda: concurrency(limits(10)),
        False,
        "held to 3,008 MB a function",
        "3008, deploy with -c settings='{\"lambda_mib\": 3008}'",
    ),
    ("concurrency denied", lambda: concurrency("AccessDeniedException"), False, "you may not", "lambda:GetAccountSettings"),
    ("concurrency present", lambda: concurrency(limits(1000)), True, "1000 concurrent", ""),
    ("role absent", lambda: role("NoSuchEntity"), False, "does not exist", "--aws-service-name batch.amazonaws.com"),
    ("role denied", lambda: role("AccessDenied"), False, "you may not look", "iam:GetRole"),
    ("role present", lambda: role(ROLE), True, "exists", ""),
]


@pytest.mark.parametrize(("check", "ok", "sentence", "advice"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_check_says_what_it_saw_and_what_to_do(check: Callable[[], Check], ok: bool, sentence: str, advice: str) -> None:
    answer = check()
    assert answer.ok is ok
    assert sentence in answer.sentence
    assert advice in answer.what_to_do
    assert bool(answer.what_to_do) is not ok


def test_without_credentials_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    answer = preflight.credentials(boto3.Session(region_name="eu-west-1").client("sts"))
    assert not answer.ok
    assert "no AWS credentials" in answer.sentence


def test_gpu_settings_ask_for_a_cuda_image_only_where_something_computes_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "execute", missing)
    images = {"pointcloud-cpu": "a", "pointcloud-cuda": "b", "images-cpu": "c"}
    settings = load("dev", {"gpu": True, "workloads": ["pointcloud", "images"], "images": images})
    _, docker = islice(preflight.checks(settings, boto3.Session()), 2)  # the others ask AWS
    assert docker.sentence == "every image is given in the settings; Docker is not needed"


def test_the_report_ends_with_what_is_left_to_do() -> None:
    text = io.StringIO()
    answers = [Check(True, "fine"), Check(False, "not fine", "mend it")]
    assert preflight.report(answers, Console(file=text)) == 1
    assert text.getvalue().splitlines() == [
        "ok   fine",
        "todo not fine",
        "     -> mend it",
        "1 to do before npx cdk deploy --all",
    ]
    assert preflight.report([Check(True, "fine")], Console(file=io.StringIO())) == 0
