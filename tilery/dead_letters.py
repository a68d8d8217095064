"""Hands uploads in again that nobody could take in, as in a burst of drops while every Lambda function of the account was busy.

Their events wait in the dead-letter queue: as ingest kept them, with the error beside, or as EventBridge put them there. Twice
in is as good as once, since a run is named by its upload.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

YOUNG = timedelta(days=1)
"""For how long an upload is tried again; then its letter waits for a person."""
MOST = 1000
"""Letters a round."""
HIDDEN_S = 60
"""So that a round meets no letter twice, and the alarm sees those that stay."""


def hand_in_again(sqs: Any, stepfunctions: Any, queue: str, ingest: str) -> int:
    """Start the machine `ingest` (ARN) for each upload whose letter lies in `queue` (URL) and is young; returns how many."""
    handed_in = 0
    for _ in range(MOST // 10):
        answer = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=HIDDEN_S)
        letters = answer.get("Messages", [])
        if not letters:
            break
        for letter in letters:
            event = upload_in(letter["Body"])
            if event is not None and _age(event) < YOUNG:
                stepfunctions.start_execution(stateMachineArn=ingest, input=json.dumps(event))
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=letter["ReceiptHandle"])
                handed_in += 1
    return handed_in


def upload_in(letter: str) -> dict[str, Any] | None:
    """The upload event in a letter's body; None for a letter about anything else.

    >>> upload_in('{"event": {"source": "aws.s3", "time": "2026-11-21T03:04:59Z"}, "error": {}}')["time"]
    '2026-11-21T03:04:59Z'
    """
    try:
        body = json.loads(letter)
        event = body.get("event", body)
        return event if event["source"] == "aws.s3" and isinstance(event["time"], str) else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _age(event: dict[str, Any]) -> timedelta:
    try:
        return datetime.now(UTC) - datetime.fromisoformat(event["time"])
    except (ValueError, TypeError):  # no moment, or one without a zone
        return timedelta.max
