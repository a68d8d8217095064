"""What a Batch container runs: `python -m containers.entrypoint TENANT RUN STAGE JOB`.

Exit codes: 0 done, 2 bad input (never retried), 42 out of memory (a larger lane may do it), 75 it may go well the next time and
143 stopped by SIGTERM (Batch tries both again), 1 anything else. A failure is also written to
work/TENANT/runs/RUN/errors/JOB.json, where `check` finds it if no item says why.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import PurePosixPath
from types import FrameType
from typing import Any

from tilery import keys, ledger, recorder
from tilery.logs import structured
from tilery.outcomes import BadInput, Outcome, OutOfMemory
from tilery.store import open_store
from tilery.store.port import Store
from tilery.worker import run_job

STOPPED = 128 + signal.SIGTERM
GRACE_S = 20.0
"""How long the current item may go on after SIGTERM. Batch and Fargate kill after 30 s."""

log = logging.getLogger("tilery.entrypoint")


class Stop:
    """True once SIGTERM came. The worker asks between items; an item that outlasts the grace is abandoned with the process:
    it left no marker, so the next attempt does it again."""

    def __init__(self, grace_s: float = GRACE_S) -> None:
        self._asked = threading.Event()
        self._grace_s = grace_s

    def __call__(self) -> bool:
        return self._asked.is_set()

    def listen(self) -> None:
        signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        log.warning("SIGTERM: stopping after this item, or in %.0f s", self._grace_s)
        self._asked.set()
        timer = threading.Timer(self._grace_s, os._exit, (STOPPED,))
        timer.daemon = True
        timer.start()


def error_key(tenant: str, run_id: str, job: str) -> str:
    """Where the failure of this job is written."""
    return keys.run(tenant, run_id, "errors", f"{PurePosixPath(job).stem}.json")


def describe(failure: BaseException, exit_code: int) -> dict[str, Any]:
    """A failure as JSON; the traceback only where it is a fault of ours."""
    known = isinstance(failure, Outcome) and type(failure) is not Outcome
    return {
        "error": type(failure).__name__,
        "sentence": str(failure) or type(failure).__name__,
        "exit_code": exit_code,
        "traceback": "" if known else "".join(traceback.format_exception(failure)),
        "batch_job": os.environ.get("AWS_BATCH_JOB_ID", ""),
        "attempt": os.environ.get("AWS_BATCH_JOB_ATTEMPT", ""),
        "at": ledger.now(),
    }


def exit_code(failure: BaseException, stopped: bool) -> int:
    """What Batch and the state machine read."""
    if stopped:
        return STOPPED
    if isinstance(failure, MemoryError):
        return OutOfMemory.exit_code
    return failure.exit_code if isinstance(failure, Outcome) else Outcome.exit_code


def run(store: Store, tenant: str, run_id: str, stage: str, job: str, stop: Stop) -> int:
    """Do one job; a failure is logged, written to the store, and returned as an exit code."""
    try:
        result = run_job(store, tenant, run_id, stage, job, stop)
    except Exception as failure:
        code = exit_code(failure, stop())
        log.error("%s: %s", type(failure).__name__, failure, exc_info=not isinstance(failure, Outcome))
        body = json.dumps(describe(failure, code), sort_keys=True).encode()
        try:
            store.put(error_key(tenant, run_id, job), body)
        except Exception:  # the failure itself must not be hidden by this one
            log.exception("the error could not be written to the store")
        return code
    log.info("job done: %s", result)
    return 0


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 4:
        print("usage: python -m containers.entrypoint TENANT RUN STAGE JOB", file=sys.stderr)
        return BadInput.exit_code
    tenant, run_id, stage, job = arguments
    structured().append_keys(run_id=run_id, tenant=tenant, job=PurePosixPath(job).stem)
    recorder.start()
    stop = Stop()
    stop.listen()
    return run(open_store(tenant), tenant, run_id, stage, job, stop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
