"""What must be in place before `cdk deploy`, checked one by one; each check says what it saw and what to do.

A check is a function of the clients it asks. What it may not look at counts as not in place: the person must find out.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from cli import aws

BOOTSTRAP_VERSION = 6
"""The oldest bootstrap stack that the stacks' assets can be deployed through."""
BOOTSTRAP_PARAMETER = "/cdk-bootstrap/hnb659fds/version"
FARGATE_VCPUS = ("fargate", "L-3032A538", "Fargate vCPUs")
GPU_VCPUS = (
    ("ec2", "L-DB2E81BA", "on-demand GPU (G and VT) vCPUs"),
    ("ec2", "L-3819A6DF", "spot GPU (G and VT) vCPUs"),
)
ROLES = {"batch.amazonaws.com": "AWSServiceRoleForBatch", "ecs.amazonaws.com": "AWSServiceRoleForECS"}
SPOT_ROLES = {"spot.amazonaws.com": "AWSServiceRoleForEC2Spot"}
YOUNG = 10
"""Concurrent Lambda executions of an account that AWS has not raised yet."""
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
ROOT = Path(__file__).resolve().parent.parent
Execute = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True, slots=True)
class Check:
    """One answer: what was seen, and what to do about it (empty if all is well)."""

    ok: bool
    sentence: str
    what_to_do: str = ""


def credentials(sts: Any) -> Check:
    """Who would deploy."""
    advice = "run `aws configure sso` (or set AWS_PROFILE) and try again"
    try:
        found = sts.get_caller_identity()
    except ClientError as error:
        return Check(False, f"the AWS credentials were refused: {_why(error)}", advice)
    except BotoCoreError as error:
        return Check(False, f"there are no AWS credentials: {error}", advice)
    return Check(True, f"account {found['Account']} as {found['Arn']}")


def bootstrap(ssm: Any) -> Check:
    """The CDK's own stack, which keeps its assets."""
    command = "run `npx cdk bootstrap`"
    try:
        version = int(ssm.get_parameter(Name=BOOTSTRAP_PARAMETER)["Parameter"]["Value"])
    except ClientError as error:
        if error.response["Error"]["Code"] == "ParameterNotFound":
            return Check(False, "this account and region are not bootstrapped for the CDK", command)
        return _could_not(f"read {BOOTSTRAP_PARAMETER}", "ssm:GetParameter", error)
    if version < BOOTSTRAP_VERSION:
        return Check(False, f"the CDK bootstrap stack is version {version}, older than {BOOTSTRAP_VERSION}", command)
    return Check(True, f"the CDK bootstrap stack is version {version}")


def docker(given: bool, execute: Execute) -> Check:
    """Docker builds the images, unless the settings name images that are already in ECR."""
    if given:
        return Check(True, "every image is given in the settings; Docker is not needed")
    other = 'or name images that exist: -c settings=\'{"images": {"pointcloud-cpu": "REPOSITORY_URI:TAG"}}\''
    try:
        ran = execute(["docker", "info", "--format", "{{.ServerVersion}}"])
    except FileNotFoundError:
        return Check(False, "Docker is not installed, and no image is given", f"install Docker, {other}")
    if ran.returncode != 0:
        return Check(False, f"Docker does not answer: {_last_line(ran.stderr)}", f"start Docker, {other}")
    return Check(True, f"Docker {ran.stdout.strip()} is running")


def cdk_cli(pinned: str, execute: Execute) -> Check:
    """The version of the CDK command line: another may not read what this one writes."""
    try:
        ran = execute(["npx", "--no-install", "cdk", "--version"])
    except FileNotFoundError:
        return Check(False, "Node is not installed", "install Node 22 or newer, then run `npm ci`")
    found = ran.stdout.split(" ")[0].strip()
    if ran.returncode != 0 or not found:
        return Check(False, "the CDK command line is not installed here", "run `npm ci` in the repository")
    if found != pinned:
        return Check(False, f"the CDK command line is {found}, not {pinned}", "run `npm ci` and start it as `npx cdk`")
    return Check(True, f"the CDK command line is {found}")


def quota(quotas: Any, service: str, code: str, name: str, needed: int, largest: int = 1) -> Check:
    """An account's limit against what the settings may use; `largest` is what one job takes. A new account has 0 GPU vCPUs."""
    try:
        allowed = int(_quota(quotas, service, code))
    except ClientError as error:
        return _could_not(f"read the limit of {name}", "servicequotas:GetServiceQuota", error)
    if allowed < needed:
        ask = f"aws service-quotas request-service-quota-increase --service-code {service} --quota-code {code}"
        waits = "more would wait" if allowed >= largest else f"jobs of {largest} would wait for ever"
        sentence = f"{allowed} {name} are allowed and the settings may use {needed}: {waits}"
        return Check(False, sentence, f"run `{ask} --desired-value {needed}`, or set less in infra/settings.py")
    return Check(True, f"{allowed} {name} are allowed; the settings use up to {needed}")


def _quota(quotas: Any, service: str, code: str) -> float:
    try:
        return float(quotas.get_service_quota(ServiceCode=service, QuotaCode=code)["Quota"]["Value"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchResourceException":
            raise
        return float(quotas.get_aws_default_service_quota(ServiceCode=service, QuotaCode=code)["Quota"]["Value"])


def lambda_concurrency(functions: Any, needed: int) -> Check:
    """Concurrent executions of the account; new accounts may have 10."""
    try:
        allowed = int(functions.get_account_settings()["AccountLimit"]["ConcurrentExecutions"])
    except ClientError as error:
        return _could_not("read the limit of concurrent Lambda executions", "lambda:GetAccountSettings", error)
    if allowed < needed:
        ask = "aws service-quotas request-service-quota-increase --service-code lambda --quota-code L-B99A9384"
        sentence = f"{allowed} concurrent Lambda executions are allowed and a map starts {needed}: many would be throttled"
        young = ". So low a limit is a new account's, which may also be held to 3,008 MB a function (ours take up to 8,192)"
        todo = f"run `{ask} --desired-value 1000`, or lower map_concurrency in infra/settings.py"
        also = "; if the deployment says MemorySize must be at most 3008, deploy with -c settings='{\"lambda_mib\": 3008}'"
        return Check(False, sentence + young * (allowed <= YOUNG), todo + also * (allowed <= YOUNG))
    return Check(True, f"{allowed} concurrent Lambda executions are allowed; a map starts up to {needed}")


def service_linked_role(iam: Any, service: str, role: str) -> Check:
    """A role that AWS services make for themselves, if whoever uses them first may."""
    try:
        iam.get_role(RoleName=role)
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchEntity":
            make = f"run `aws iam create-service-linked-role --aws-service-name {service}`"
            return Check(False, f"the service-linked role {role} does not exist", make)
        return _could_not(f"look for the role {role}", "iam:GetRole", error)
    return Check(True, f"the service-linked role {role} exists")


def _why(error: ClientError) -> str:
    return str(error.response["Error"].get("Message") or error.response["Error"]["Code"])


def _could_not(what: str, action: str, error: ClientError) -> Check:
    if error.response["Error"]["Code"] in DENIED:
        return Check(False, f"you may not {what}", f"ask for the permission {action}, or have an administrator run this")
    return Check(False, f"could not {what}: {_why(error)}", "try again; if it stays, see the AWS status page")


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "no answer"


def execute(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a tool in the repository; `FileNotFoundError` if it is not installed."""
    found = shutil.which(command[0])
    if found is None:
        raise FileNotFoundError(command[0])
    return subprocess.run([found, *command[1:]], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def checks(settings: Any, session: Any) -> Iterator[Check]:
    """Every check of a deployment, in the order a person would mend them; without credentials the rest is not asked."""
    package = json.loads((ROOT / "package.json").read_text())
    wanted = {f"{workload}-{lane.image}" for workload in settings.workloads for lane in settings.lanes_of(workload)}
    yield cdk_cli(package["devDependencies"]["aws-cdk"], execute)
    yield docker(wanted <= set(settings.images), execute)
    if not session.region_name:
        yield Check(False, "no AWS region is set", "set AWS_REGION or run `aws configure`")
        return
    who = credentials(session.client("sts"))
    yield who
    if not who.ok:
        return
    yield bootstrap(session.client("ssm"))
    yield lambda_concurrency(session.client("lambda"), settings.map_concurrency)
    quotas, gpu = session.client("service-quotas"), any(lane.gpus for lane in settings.batch_lanes)
    yield quota(quotas, *FARGATE_VCPUS, settings.fargate_max_vcpus, _largest(settings, gpu=False))
    if gpu:
        on_demand, spot = GPU_VCPUS
        yield quota(quotas, *on_demand, settings.gpu_ondemand_max_vcpus, _largest(settings, gpu=True))
        yield quota(quotas, *spot, settings.gpu_spot_max_vcpus, _largest(settings, gpu=True))
    iam = session.client("iam")
    for service, role in (ROLES | (SPOT_ROLES if gpu else {})).items():
        yield service_linked_role(iam, service, role)


def _largest(settings: Any, *, gpu: bool) -> int:
    """The vCPUs of the largest job of the lanes with, or without, a GPU."""
    return max(int(lane.vcpus) for lane in settings.batch_lanes if bool(lane.gpus) is gpu)


def report(answers: Iterable[Check], console: Console) -> int:
    """Print each answer as it comes; 0 if all is well, else 1."""
    bad = 0
    for answer in answers:
        console.print("[green]ok  [/]" if answer.ok else "[red]todo[/]", answer.sentence, highlight=False, soft_wrap=True)
        if answer.what_to_do:
            console.print(f"     -> {answer.what_to_do}", markup=False, highlight=False, soft_wrap=True)
        bad += not answer.ok
    console.print("Ready: npx cdk deploy --all" if not bad else f"{bad} to do before npx cdk deploy --all", highlight=False)
    return int(bad > 0)


def run(environment: str, settings: str = "") -> int:
    """`tilery preflight [ENVIRONMENT]`; `settings` is the JSON that `cdk deploy -c settings=` gets too."""
    from infra.settings import load

    return report(checks(load(environment, settings), aws.session()), Console())
