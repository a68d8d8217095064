"""Which Retry or Catch rule takes an error, and how long to wait before the next attempt.

Source: Amazon States Language, "Errors"; Step Functions developer guide, "Handling errors in Step Functions workflows".
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Rule = dict[str, Any]

TERMINAL = frozenset({"States.DataLimitExceeded", "States.Runtime"})
"""Errors that no wildcard takes; the developer guide calls them terminal."""

TIMEOUTS = frozenset({"States.Timeout", "States.HeartbeatTimeout"})


def matches(names: list[str], error: str) -> bool:
    """True if one of the `ErrorEquals` names takes the error, by name or as one of the reserved wildcards."""
    return any(_takes(name, error) for name in names)


def _takes(name: str, error: str) -> bool:
    if name == error:
        return True
    if error in TERMINAL:
        return False
    if name == "States.ALL":
        return True
    if name == "States.TaskFailed":
        return error not in TIMEOUTS
    return name == "States.Timeout" and error == "States.HeartbeatTimeout"


def first_match(rules: list[Rule], error: str) -> int | None:
    """The index of the first rule that takes the error; rules are scanned in array order."""
    for index, rule in enumerate(rules):
        if matches(rule["ErrorEquals"], error):
            return index
    return None


def delay_s(rule: Rule, retries_done: int, uniform: Callable[[float, float], float] = random.uniform) -> float | None:
    """Seconds to wait before the next attempt, or None if the rule's attempts are used up.

    IntervalSeconds (1) x BackoffRate (2.0) ^ retries done, capped by MaxDelaySeconds; FULL jitter draws between 0 and that.
    """
    if retries_done >= rule.get("MaxAttempts", 3):
        return None
    delay = float(rule.get("IntervalSeconds", 1)) * float(rule.get("BackoffRate", 2.0)) ** retries_done
    delay = min(delay, float(rule.get("MaxDelaySeconds", delay)))
    return uniform(0.0, delay) if rule.get("JitterStrategy", "NONE") == "FULL" else delay
