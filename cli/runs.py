"""`tilery runs` and `tilery show`: what ran, and all about one run."""

from __future__ import annotations

import json
from itertools import islice
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from cli import products
from cli.find_run import find_run
from cli.options import Json, Root, RunName, Stack, Tenant
from cli.target import Target, find
from cli.text import elapsed_s, local_time, out, print_json, short, styled
from tilery import gates, keys, ledger, registry
from tilery.report import duration, size
from tilery.store.port import NotFound, Store


def runs(
    workload: Annotated[str, typer.Option("--workload", help="Only runs of this workload.", show_default=False)] = "",
    status: Annotated[
        str, typer.Option("--status", help="Only runs with this status, for example FAILED.", show_default=False)
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many, newest first.")] = 20,
    tenant: Tenant = "local",
    root: Root = None,
    stack: Stack = "",
    as_json: Json = False,
) -> None:
    """List the runs, newest first."""
    target = find(stack, root)
    asked = (
        run
        for run in ledger.runs(target.store, tenant)
        if (not workload or run["workload"] == workload) and (not status or run["status"] == status.upper())
    )
    found = list(islice(asked, limit + 1))
    if as_json:
        print_json(found[:limit])
        return
    if not found:
        out().print(f"No runs of tenant {tenant} in {target.place}; --tenant names another.", markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Run", "Name", "Status", "Received", "Took"):
        table.add_column(column, no_wrap=column != "Name", overflow="fold", justify="right" if column == "Took" else "left")
    for run in found[:limit]:
        took = elapsed_s(run["received"], run["ended"])
        table.add_row(
            short(run["run_id"]),
            escape(f"{run['workload']}/{run['dataset']}"),
            styled(run["status"]),
            local_time(run["received"]),
            "" if took is None else duration(took),
        )
    console = out()
    console.print(table)
    if len(found) > limit:
        console.print("... and older ones (--limit)", markup=False)


def show(run: RunName, tenant: Tenant = "local", root: Root = None, stack: Stack = "", as_json: Json = False) -> None:
    """Everything about one run: state, lane and why, timings, products, warnings, what went wrong and what to do."""
    target = find(stack, root)
    about = describe(target, tenant, find_run(target.store, tenant, run))
    if as_json:
        print_json(about)
    else:
        _print(about, target)


def describe(target: Target, tenant: str, line: dict[str, Any]) -> dict[str, Any]:
    """All that is known of a run, as `show --json` prints it."""
    store, run_id = target.store, str(line["run_id"])
    folder = keys.result(tenant, line["workload"], line["dataset"], run_id)
    ended = products.read(store, folder)
    return {
        **line,
        "results": folder,
        "manifest": _json(store, keys.run(tenant, run_id, "manifest.json")),
        "paused": store.head(keys.run(tenant, run_id, "pause.json")) is not None,
        "waits_behind": gates.waiting(store, tenant, run_id),
        "record": ended.record if ended else None,
        "failure": ended.failure if ended else None,
        "execution": _execution(target, line),
        "events": ledger.events(store, tenant, str(line["received"])[:10], run_id),
    }


def _execution(target: Target, line: dict[str, Any]) -> dict[str, Any] | None:
    """What Step Functions says now; None where it cannot be asked or has forgotten the run."""
    if not target.reachable():
        return None
    client = target.stepfunctions
    arn = target.execution_arn(line["workload"], line["run_id"])
    try:
        answer = client.describe_execution(executionArn=arn)
    except client.exceptions.ExecutionDoesNotExist:
        return None
    stopped = answer.get("stopDate")
    return {
        "arn": arn,
        "status": answer["status"],
        "started": answer["startDate"].isoformat(),
        "stopped": stopped.isoformat() if stopped else "",
        "error": answer.get("error", ""),
        "redrives": answer.get("redriveCount", 0),
    }


def _json(store: Store, key: str) -> Any:
    try:
        return json.loads(store.get(key))
    except NotFound:
        return None


def _print(about: dict[str, Any], target: Target) -> None:
    console = out()
    record, failure, manifest = about["record"] or {}, about["failure"], about["manifest"] or {}
    console.print(f"[bold]{escape(about['workload'] + '/' + about['dataset'])}[/]  {styled(about['status'])}")
    for name, value in _facts(about, record, manifest):
        console.print(f"[dim]{name:<10}[/] {escape(value)}")
    if failure:
        console.print(f"\n[red]{escape(str(failure.get('sentence', failure.get('error', ''))))}[/]")
        console.print(escape(str(failure.get("what_to_do", ""))))
        if failure.get("redrive"):
            console.print(f"Repeat what failed: tilery redrive {short(about['run_id'])} {target.flags()}", markup=False)
    if record.get("missing"):
        console.print(f"\n[yellow]{len(record['missing'])} parts are missing:[/] {escape(', '.join(record['missing'][:20]))}")
    for warning in record.get("warnings", []):
        console.print(f"[yellow]warning:[/] {escape(str(warning))}")
    if record.get("products"):
        console.print("\n[bold]Products[/]")
        listed = Table(box=None, show_header=False, pad_edge=False)
        for product in record["products"]:
            listed.add_row(escape(product["path"]), escape(product["kind"]), size(int(product["bytes"])))
        for one in record.get("listed", []):
            listed.add_row(f"{one['count']:,} named in {escape(one['path'])}", escape(one["kind"]), size(int(one["bytes"])))
        console.print(listed)
        console.print(f"Fetch them: tilery get {short(about['run_id'])} --out DIR {target.flags()}", markup=False)
    console.print("\n[bold]Events[/]")
    for event in about["events"]:
        console.print(f"  {local_time(event['at'])}  {event['event']}", markup=False)


def _facts(about: dict[str, Any], record: dict[str, Any], manifest: dict[str, Any]) -> list[tuple[str, str]]:
    facts = [("run", str(about["run_id"])), ("received", local_time(about["received"]))]
    if about["ended"]:
        facts.append(("ended", local_time(about["ended"])))
    if about["waits_behind"]:
        facts.append(("paused", f"waits behind {about['waits_behind'][0]} for `tilery resume`"))
    elif about["paused"] and not about["ended"]:
        facts.append(("paused", "will wait after its present stage for `tilery resume`"))
    execution = about["execution"]
    if execution:
        again = f", redriven {execution['redrives']} times" if execution["redrives"] else ""
        facts.append(("execution", f"{execution['status']}{again}  {execution['arn']}"))
    sources = manifest.get("sources", [])
    if sources:
        total = sum(int(source["size"]) for source in sources)
        facts.append(("input", f"{len(sources)} {'file' if len(sources) == 1 else 'files'}, {size(total)}"))
    if record:
        facts.append(("lane", _because(record.get("lane", ""), record.get("lane_reason", ""))))
        facts.append(("device", _because(record.get("device", ""), record.get("device_reason", ""))))
        timings, estimate = record["timings"], record["estimate"]
        stages = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in timings.get("stages", {}).items())
        facts.append(("took", duration(timings["total_s"]) + (f" ({stages})" if stages else "")))
        facts.append(("estimate", f"{duration(estimate['seconds'])}, {estimate['dollars']:.4f} $ on AWS"))
        facts += [("counts", json.dumps(record["counts"]))] if record.get("counts") else []
    options = _changed(about["workload"], record.get("options") or manifest.get("options") or {})
    facts.append(("options", json.dumps(options) if options else "the defaults"))
    facts.append(("results", str(about["results"])))
    return facts


def _changed(workload: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options that are not as they are by default here, also inside groups of options; all of a workload unknown here."""
    if workload not in registry.names():
        return options
    return _apart(options, registry.options(workload).model_construct().model_dump(mode="json"))


def _apart(options: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    apart = {}
    for name, value in options.items():
        usual = default.get(name)
        if value != usual:
            apart[name] = _apart(value, usual) if isinstance(value, dict) and isinstance(usual, dict) else value
    return apart


def _because(what: str, why: str) -> str:
    return f"{what}: {why}" if why else what
