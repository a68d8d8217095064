"""EventBridge in small: does an event match a rule's pattern, and what does S3 say when an object was created.

Source of the matching rules: Amazon EventBridge user guide, "Comparison operators for use in event patterns".
"""

from __future__ import annotations

import ipaddress
import operator
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tilery import names

ACCOUNT = "000000000000"
REGION = "local"


class UnsupportedPattern(ValueError):
    """A pattern that this matcher does not know; matching it wrongly would be worse."""


def matches(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    """Whether an event passes a rule: every field of the pattern must be matched, other fields of the event do not matter."""
    alternatives = pattern.get("$or")
    if isinstance(alternatives, list) and not any(matches(alternative, event) for alternative in alternatives):
        return False
    return all(_field(wanted, name, event) for name, wanted in pattern.items() if name != "$or")


def _field(wanted: Any, name: str, event: Mapping[str, Any]) -> bool:
    if isinstance(wanted, Mapping):
        inner = event.get(name)
        if isinstance(inner, list):
            return any(isinstance(part, Mapping) and matches(wanted, part) for part in inner)
        return matches(wanted, inner if isinstance(inner, Mapping) else {})
    if not isinstance(wanted, list) or not wanted:
        raise UnsupportedPattern(f"the pattern of {name!r} must be a list of alternatives or an object")
    present = name in event and not isinstance(event[name], Mapping)
    return any(_alternative(choice, present, event.get(name)) for choice in wanted)


def _alternative(choice: Any, present: bool, value: Any) -> bool:
    """One element of a pattern's list against one field; of an array in the event any element may match."""
    if isinstance(choice, Mapping):
        if len(choice) != 1:
            raise UnsupportedPattern(f"a comparison has one operator, got {dict(choice)}")
        ((name, argument),) = choice.items()
        if name == "exists":
            return bool(present == argument)
        if name not in OPERATORS:
            raise UnsupportedPattern(f"the comparison {name!r} is not supported; known are: exists, {', '.join(OPERATORS)}")
        test = OPERATORS[name](argument)
    else:
        test = _equal(choice)
    if not present:
        return False
    return any(test(part) for part in (value if isinstance(value, list) else [value]))


Test = Callable[[Any], bool]


def _equal(wanted: Any) -> Test:
    """Exact: texts by every character, numbers by their text, true is not 1."""
    return lambda value: type(value) is type(wanted) and value == wanted


def _prefix(wanted: Any) -> Test:
    if isinstance(wanted, Mapping):
        text = str(wanted["equals-ignore-case"]).lower()
        return lambda value: isinstance(value, str) and value.lower().startswith(text)
    return lambda value: isinstance(value, str) and value.startswith(wanted)


def _suffix(wanted: Any) -> Test:
    if isinstance(wanted, Mapping):
        text = str(wanted["equals-ignore-case"]).lower()
        return lambda value: isinstance(value, str) and value.lower().endswith(text)
    return lambda value: isinstance(value, str) and value.endswith(wanted)


def _wildcard(wanted: Any) -> Test:
    """`*` stands for any number of characters; `\\*` and `\\\\` for themselves. Two in a row are refused by EventBridge."""
    if re.search(r"(?<!\\)\*\*", wanted):
        raise UnsupportedPattern(f"consecutive wildcard characters in {wanted!r}")
    parts = re.findall(r"\\[*\\]|\*|[^*\\]+|\\", wanted)
    text = "".join(
        ".*" if part == "*" else re.escape(part[1:] if len(part) > 1 and part[0] == "\\" else part) for part in parts
    )
    expression = re.compile(text, re.DOTALL)
    return lambda value: isinstance(value, str) and expression.fullmatch(value) is not None


def _equals_ignore_case(wanted: Any) -> Test:
    return lambda value: isinstance(value, str) and value.lower() == str(wanted).lower()


def _anything_but(wanted: Any) -> Test:
    """Everything except the given values, or except what a nested comparison (one value or a list) matches."""
    if isinstance(wanted, Mapping):
        ((name, argument),) = wanted.items()
        if name not in ("prefix", "suffix", "wildcard", "equals-ignore-case"):
            raise UnsupportedPattern(f"anything-but cannot hold {name!r}")
        tests = [OPERATORS[name](each) for each in (argument if isinstance(argument, list) else [argument])]
    else:
        tests = [_equal(each) for each in (wanted if isinstance(wanted, list) else [wanted])]
    return lambda value: not any(test(value) for test in tests)


COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _numeric(wanted: Any) -> Test:
    """`[">", 0, "<=", 5]`: all comparisons hold."""
    pairs = [(COMPARISONS[sign], limit) for sign, limit in zip(wanted[::2], wanted[1::2], strict=True)]
    return lambda value: (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and all(compare(value, limit) for compare, limit in pairs)
    )


def _cidr(wanted: Any) -> Test:
    network = ipaddress.ip_network(wanted)

    def test(value: Any) -> bool:
        try:
            return ipaddress.ip_address(value) in network
        except ValueError:
            return False

    return test


OPERATORS: dict[str, Callable[[Any], Test]] = {
    "prefix": _prefix,
    "suffix": _suffix,
    "wildcard": _wildcard,
    "anything-but": _anything_but,
    "equals-ignore-case": _equals_ignore_case,
    "numeric": _numeric,
    "cidr": _cidr,
}


def drop_pattern(bucket: str) -> dict[str, Any]:
    """The pattern of the rule that starts ingest, the same one that CDK deploys."""
    return {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": [bucket]}, **names.DROP_DETAIL},
    }


def object_created(bucket: str, key: str, *, size: int, etag: str, version: str, reason: str = "PutObject") -> dict[str, Any]:
    """What S3 sends to EventBridge for a new object (S3 user guide, "EventBridge event message structure")."""
    return {
        **_envelope("aws.s3", "Object Created", [f"arn:aws:s3:::{bucket}"]),
        "detail": {
            "version": "0",
            "bucket": {"name": bucket},
            "object": {
                "key": key,
                "size": size,
                "etag": etag,
                "version-id": version,
                "sequencer": f"{uuid.uuid4().int >> 64:016X}",
            },
            "request-id": str(uuid.uuid4()),
            "requester": ACCOUNT,
            "source-ip-address": "127.0.0.1",
            "reason": reason,
        },
    }


def status_change(detail: Mapping[str, Any]) -> dict[str, Any]:
    """What Step Functions sends when an execution changes its status; `detail` has DescribeExecution's fields, times in ms
    (Step Functions developer guide, "Automating event delivery with EventBridge").
    """
    event = _envelope("aws.states", "Step Functions Execution Status Change", [detail["executionArn"]])
    return {**event, "detail": dict(detail)}


def schedule(rule: str) -> dict[str, Any]:
    """What a scheduled rule sends."""
    event = _envelope("aws.events", "Scheduled Event", [f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{rule}"])
    return {**event, "detail": {}}


def _envelope(source: str, kind: str, resources: list[str]) -> dict[str, Any]:
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": kind,
        "source": source,
        "account": ACCOUNT,
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": REGION,
        "resources": resources,
    }
