"""Where a command talks to: the twin in a folder of this machine, or a stack on AWS. The commands are the same for both."""

from __future__ import annotations

import json
import os
import socket
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cli import aws
from cli.options import DEFAULT_ROOT
from tilery import names
from tilery.outcomes import BadInput, Transient
from tilery.store.port import Store

REGION = "us-east-1"
"""The twin's region; it is only a label."""


class Target(ABC):
    """A place where runs live: its objects, and its Step Functions API."""

    place: str
    """What a person calls it, for sentences: `the twin in /data/tilery`, `the stack tilery-dev`."""

    @property
    @abstractmethod
    def store(self) -> Store: ...

    @property
    @abstractmethod
    def stepfunctions(self) -> Any:
        """A client of the Step Functions API; `Transient` if the twin is not running."""

    @abstractmethod
    def machine_arn(self, workload: str) -> str: ...

    def execution_arn(self, workload: str, run_id: str) -> str:
        """The ARN of a run: the machine's, with `execution` for `stateMachine`, and the run id."""
        return self.machine_arn(workload).replace(":stateMachine:", ":execution:", 1) + f":{run_id}"

    @abstractmethod
    def flags(self) -> str:
        """What to add to a command so that it talks to this place, for hints."""

    def reachable(self) -> bool:
        """Whether the Step Functions API can be asked."""
        return True


class TwinTarget(Target):
    """The twin whose files are below `root`. Reading needs only the files; changing a run needs the twin to be running."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.place = f"the twin in {root}"

    @cached_property
    def store(self) -> Store:
        if not self.root.is_dir():
            raise BadInput(
                f"there is no twin in {self.root}; start one with `tilery up --root {self.root}`, or name another with --root"
            )
        return open_directory(self.root)

    @cached_property
    def stepfunctions(self) -> Any:
        url = self.url()
        if not url:
            raise Transient(f"no twin is running in {self.root}; start it with `tilery up --root {self.root}`, then try again")
        return twin_client(url)

    def url(self) -> str:
        """The address of the running twin, empty when none runs."""
        try:
            endpoint: dict[str, Any] = json.loads((self.root / "twin" / "endpoint.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return ""
        url = str(endpoint["url"])
        return url if _alive(int(endpoint.get("pid", 0))) and _answers(url) else ""

    def machine_arn(self, workload: str) -> str:
        return f"arn:aws:states:local:000000000000:stateMachine:{names.machine_name(workload)}"

    def flags(self) -> str:
        return f"--root {self.root}"

    def reachable(self) -> bool:
        return bool(self.url())


class StackTarget(Target):
    """A deployed stack, known by its CloudFormation outputs; credentials and region as for every AWS tool."""

    def __init__(self, stack: str) -> None:
        self.stack = stack
        self.place = f"the stack {stack}"

    @cached_property
    def session(self) -> Any:
        return aws.session()

    @cached_property
    def outputs(self) -> dict[str, str]:
        from botocore.exceptions import ClientError

        try:
            answer = self.session.client("cloudformation").describe_stacks(StackName=self.stack)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ValidationError":
                region = self.session.region_name
                raise BadInput(
                    f"there is no stack {self.stack!r} in {region} of this account; check --stack, AWS_REGION and AWS_PROFILE"
                ) from None
            raise
        return {output["OutputKey"]: output["OutputValue"] for output in answer["Stacks"][0].get("Outputs", [])}

    def output(self, key: str) -> str:
        if key not in self.outputs:
            raise BadInput(f"the stack {self.stack} has no output {key!r}; --stack takes the app stack, as tilery-dev-app")
        return self.outputs[key]

    @cached_property
    def store(self) -> Store:
        return open_buckets(self.session, self.output("DropBucket"), self.output("WorkBucket"), self.output("ResultsBucket"))

    @cached_property
    def stepfunctions(self) -> Any:
        return self.session.client("stepfunctions")

    def machine_arn(self, workload: str) -> str:
        key = f"{workload.capitalize()}Machine"
        deployed = [name.removesuffix("Machine").lower() for name in self.outputs if name.endswith("Machine")]
        runs = ", ".join(sorted({*deployed} - {"ingest"}))
        if key not in self.outputs and runs:
            raise BadInput(f"the stack {self.stack} does not run {workload!r}; it runs: {runs}")
        return self.output(key)

    def flags(self) -> str:
        return f"--stack {self.stack}"


def find(stack: str, root: Path | None) -> Target:
    """The place that the options name: AWS with `--stack`, else the twin."""
    if stack and root is not None and "TILERY_ROOT" not in os.environ:
        raise BadInput("give --stack for AWS or --root for the twin, not both")
    if stack:
        return StackTarget(stack)
    return TwinTarget(twin_root(root))


def twin_root(root: Path | None) -> Path:
    """The twin's folder. The output folder of `tilery run` keeps its twin in `.tilery`, so it may be named too."""
    folder = Path(os.path.abspath((root or Path(DEFAULT_ROOT)).expanduser()))
    inner = folder / ".tilery"
    return inner if not (folder / "twin").is_dir() and (inner / "twin").is_dir() else folder


def twin_client(url: str) -> Any:
    """A Step Functions client of the twin at this address."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "stepfunctions",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="twin",
        aws_secret_access_key="twin",
        config=Config(retries={"max_attempts": 2}, connect_timeout=5, read_timeout=60, inject_host_prefix=False),
    )


def open_directory(root: Path) -> Store:
    """The twin's store."""
    from tilery.store.directory import DirectoryStore

    return DirectoryStore(root)


def open_buckets(session: Any, drop: str, work: str, results: str) -> Store:
    """The store on S3, with the caller's own credentials. The ledger lives in the results bucket."""
    from tilery.store.s3 import S3Store

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    return S3Store({"drop": drop, "work": work, "results": results, "ledger": results}, session, endpoint=endpoint)


def _answers(url: str) -> bool:
    """Whether anything listens there. After a restart of the machine another process may have the dead twin's id."""
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname or "", address.port or 0), timeout=2).close()
    except OSError:
        return False
    return True


def _alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
