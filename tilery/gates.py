"""Gates between stages: an operator pauses a run, looks, and lets it go on.

A paused run waits on a Step Functions task token, kept in the work area and never printed.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from tilery import keys, stages
from tilery.ledger import now
from tilery.outcomes import BadInput
from tilery.store.port import NotFound, Store


def pause(store: Store, tenant: str, run_id: str) -> None:
    """Ask a run to wait after the stage that is going on now. `BadInput` if one worker does it all, without a gate."""
    try:
        lane = stages.read_brief(store, tenant, run_id).lane
    except NotFound:
        lane = ""  # it is not sized yet: the gate will see the wish
    if lane == "lambda":
        raise BadInput("this run is done by one worker, in one go: there is nothing to pause; `tilery stop` ends it")
    store.put(keys.run(tenant, run_id, "pause.json"), json.dumps({"at": now()}).encode())


def arrive(store: Store, sfn: Any, tenant: str, run_id: str, stage: str, token: str) -> bool:
    """A run arrives at the gate behind a stage. Answers the token at once unless a pause is asked; True if it waits."""
    if _asked(store, tenant, run_id, stage):
        gate = {"stage": stage, "token": token, "since": now()}
        key = keys.run(tenant, run_id, "gates", f"{stage}.json")
        store.put(key, json.dumps(gate).encode())
        if _asked(store, tenant, run_id, stage):
            return True
        store.delete([key])  # a resume came between: it may have found no gate to open
        with suppress(sfn.exceptions.TaskTimedOut, sfn.exceptions.InvalidToken):
            sfn.send_task_success(taskToken=token, output=json.dumps({"gate": stage, "waited": False}))
        return False
    sfn.send_task_success(taskToken=token, output=json.dumps({"gate": stage, "waited": False}))
    return False


def waiting(store: Store, tenant: str, run_id: str) -> list[str]:
    """The stages behind which a run waits now."""
    return [entry.key.rsplit("/", 1)[1].removesuffix(".json") for entry in store.list(_gates(tenant, run_id))]


def resume(store: Store, sfn: Any, tenant: str, run_id: str) -> list[str]:
    """Let a paused run go on; returns the stages behind which it had waited. Safe to call twice."""
    store.delete([keys.run(tenant, run_id, "pause.json")])
    passed = []
    for entry in list(store.list(_gates(tenant, run_id))):
        gate = json.loads(store.get(entry.key))
        store.put(keys.run(tenant, run_id, "opened", f"{gate['stage']}.json"), b"{}")
        with suppress(sfn.exceptions.TaskTimedOut, sfn.exceptions.InvalidToken):  # stopped, or another resume was first
            sfn.send_task_success(taskToken=gate["token"], output=json.dumps({"gate": gate["stage"], "waited": True}))
        store.delete([entry.key])
        passed.append(str(gate["stage"]))
    return passed


def _gates(tenant: str, run_id: str) -> str:
    return keys.run(tenant, run_id, "gates") + "/"


def _asked(store: Store, tenant: str, run_id: str, stage: str) -> bool:
    if store.head(keys.run(tenant, run_id, "pause.json")) is not None:
        return True
    if store.head(keys.run(tenant, run_id, "opened", f"{stage}.json")) is not None:
        return False
    try:
        return stage in stages.read_brief(store, tenant, run_id).options.get("pause", [])
    except NotFound:
        return False
