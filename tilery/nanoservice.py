"""Makes a Lambda handler of a function: structured logs with the run's id, a trace, and metrics, in one decorator."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit

from tilery.logs import structured
from tilery.outcomes import BadInput, Outcome
from tilery.run import SCHEMA

Event = dict[str, Any]
Handler = Callable[[Event, Any], Any]


def nanoservice(name: str) -> Callable[[Callable[[Event], Any]], Handler]:
    """Decorate `function(event) -> JSON`. Refuses payloads of another schema; logs the answer, counts outcomes by class."""
    logger, metrics = structured(name), Metrics(namespace="Tilery", service=name)

    def decorate(function: Callable[[Event], Any]) -> Handler:
        @wraps(function)
        def handle(event: Event, context: Any) -> Any:
            logger.append_keys(run_id=event.get("run_id", ""), tenant=event.get("tenant", ""))
            try:
                if event.get("schema", SCHEMA) != SCHEMA:
                    raise BadInput(f"this {name} understands payloads of schema {SCHEMA}, not {event['schema']}; deploy again")
                result = function(event)
            except Outcome as outcome:
                logger.error("%s: %s", type(outcome).__name__, outcome)
                metrics.add_metric(name=type(outcome).__name__, unit=MetricUnit.Count, value=1)
                raise
            metrics.add_metric(name="Done", unit=MetricUnit.Count, value=1)
            logger.info({"returned": result})
            return result

        measured: Handler = metrics.log_metrics(_traced(name, handle))
        injected: Handler = logger.inject_lambda_context(measured, clear_state=True)
        return injected

    return decorate


def _traced(name: str, handle: Handler) -> Handler:
    """With a trace, where traces are wanted: importing what writes them takes a tenth of a second and more."""
    if os.environ.get("POWERTOOLS_TRACE_DISABLED", "").lower() in ("1", "true"):
        return handle
    from aws_lambda_powertools import Tracer

    traced: Handler = Tracer(service=name).capture_lambda_handler(handle)
    return traced
