"""What the pipeline machine does, without a state machine."""

from __future__ import annotations

from contextlib import suppress

from tilery import stages, worker
from tilery.outcomes import Outcome
from tilery.store.port import Store


def every_stage(store: Store, run_id: str, tenant: str = "acme") -> None:
    """Plan, work on and check every stage of a sized run; what fails is left to the check, which raises for what is missing."""
    run = stages.read_run(store, tenant, run_id)
    while (plan := stages.plan(store, run, worker.planning_work)).stage != "publish":
        for job in stages.read_lines(store, plan.jobs):
            with suppress(Outcome):
                worker.run_job(store, tenant, run_id, plan.stage, job["key"])
        assert stages.check(store, run, plan.stage, plan.round, redriven=False) is None
