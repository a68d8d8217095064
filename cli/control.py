"""The commands that change a run: stop, redrive, pause, resume."""

from __future__ import annotations

from typing import Any

from cli.find_run import find_run
from cli.options import Root, RunName, Stack, Tenant
from cli.target import Target, find
from cli.text import err, short
from tilery import explain, gates
from tilery.outcomes import BadInput


def stop(run: RunName, tenant: Tenant = "local", root: Root = None, stack: Stack = "") -> None:
    """Stop a run now. Finished tiles stay; `tilery redrive` goes on from them."""
    target, line = _find(run, tenant, root, stack)
    _refuse_unless(_status(target, line), ("RUNNING",), line, "only a running run can be stopped")
    target.stepfunctions.stop_execution(
        executionArn=_arn(target, line), error="Stopped", cause="Stopped by an operator with `tilery stop`."
    )
    err().print(f"Stopped {_title(line)}. Go on later: tilery redrive {short(line['run_id'])} {target.flags()}", markup=False)


def redrive(run: RunName, tenant: Tenant = "local", root: Root = None, stack: Stack = "") -> None:
    """Repeat what failed in the same run; finished tiles are not done again."""
    target, line = _find(run, tenant, root, stack)
    allowed = ("FAILED", "TIMED_OUT", "ABORTED")
    _refuse_unless(
        _status(target, line), allowed, line, "only a run that failed or was stopped can be redriven; see `tilery redo`"
    )
    client = target.stepfunctions
    try:
        client.redrive_execution(executionArn=_arn(target, line))
    except client.exceptions.ExecutionNotRedrivable as error:
        raise BadInput(f"{_title(line)} cannot be redriven: {error.response['Error']['Message']}; use `tilery redo`") from None
    count = int(client.describe_execution(executionArn=_arn(target, line)).get("redriveCount", 1))
    explain.redriven(target.store, tenant, line["run_id"], count)
    err().print(f"Redriven {_title(line)}. Follow it: tilery show {short(line['run_id'])} {target.flags()}", markup=False)


def pause(run: RunName, tenant: Tenant = "local", root: Root = None, stack: Stack = "") -> None:
    """Let a run wait after its present stage until `tilery resume`."""
    target, line = _find(run, tenant, root, stack)
    _refuse_unless(_status(target, line), ("RUNNING",), line, "only a running run can be paused")
    gates.pause(target.store, tenant, line["run_id"])
    err().print(
        f"{_title(line)} will wait after its present stage. Go on: tilery resume {short(line['run_id'])} {target.flags()}",
        markup=False,
    )


def resume(run: RunName, tenant: Tenant = "local", root: Root = None, stack: Stack = "") -> None:
    """Let a paused run go on."""
    target, line = _find(run, tenant, root, stack)
    _refuse_unless(_status(target, line), ("RUNNING",), line, "only a running run can go on; see `tilery redrive`")
    passed = gates.resume(target.store, target.stepfunctions, tenant, line["run_id"])
    waited = f" It had waited behind {', '.join(passed)}." if passed else " It did not wait yet."
    err().print(f"{_title(line)} goes on.{waited}", markup=False)


def _find(run: str, tenant: str, root: Any, stack: str) -> tuple[Target, dict[str, Any]]:
    target = find(stack, root)
    return target, find_run(target.store, tenant, run)


def _arn(target: Target, line: dict[str, Any]) -> str:
    return target.execution_arn(line["workload"], line["run_id"])


def _status(target: Target, line: dict[str, Any]) -> str:
    """What Step Functions says, which is the truth about a run."""
    client = target.stepfunctions
    try:
        return str(client.describe_execution(executionArn=_arn(target, line))["status"])
    except client.exceptions.ExecutionDoesNotExist:
        raise BadInput(f"{_title(line)} is too old: its execution is no longer kept; use `tilery drop` again") from None


def _refuse_unless(status: str, allowed: tuple[str, ...], line: dict[str, Any], why: str) -> None:
    if status not in allowed:
        raise BadInput(f"{_title(line)} is {status}; {why}")


def _title(line: dict[str, Any]) -> str:
    return f"{line['workload']}/{line['dataset']} ({short(line['run_id'])})"
