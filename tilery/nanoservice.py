"""Makes a Lambda handler of a function: structured logs with the run's id, a trace, and metrics, in one decorator."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit

from tilery.outcomes import BadInput, Outcome
from tilery.run import SCHEMA

Event = dict[str, Any]
Handler = Callable[[Event, Any], Any]


def nanoservice(name: str) -> Callable[[Callable[[Event], Any]], Handler]:
    """Decorate `function(event) -> JSON`. Refuses payloads of another schema; counts outcomes by their class."""
    logging.getLogger("tilery").setLevel(logging.INFO)
    logger, tracer, metrics = Logger(service=name), Tracer(service=name), Metrics(namespace="Tilery", service=name)

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
            return result

        traced: Handler = tracer.capture_lambda_handler(handle)
        measured: Handler = metrics.log_metrics(traced)
        injected: Handler = logger.inject_lambda_context(measured, clear_state=True)
        return injected

    return decorate
