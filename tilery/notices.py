"""Tells people about the end of a run: an SNS topic in the cloud, and always the ledger."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

from tilery import ledger
from tilery.run import Manifest
from tilery.store.port import Store

log = logging.getLogger("tilery.notices")


def send(store: Store, manifest: Manifest, event: str, subject: str, facts: dict[str, Any]) -> bool:
    """Record the notice once a run and event, and publish it if a topic is deployed. False if it was sent before."""
    if not ledger.write(store, manifest, f"notice-{event}", subject=subject, **facts):
        return False
    topic = os.environ.get("TILERY_TOPIC")
    if topic:
        _publish(topic, subject, json.dumps({"subject": subject, **facts}, indent=2, ensure_ascii=False), event)
    return True


def subject_line(text: str) -> str:
    """A text as SNS takes it for a subject: one line, no control characters, less than 100 characters.

    >>> subject_line("a failure" + chr(10) + "in two lines")
    'a failure in two lines'
    """
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) < 100 else line[:96] + "..."


def _publish(topic: str, subject: str, message: str, event: str) -> None:
    """Best effort: a run that is published must not fail because nobody could be told; the ledger has the notice.

    The attribute `event` (succeeded, partial, failed) lets a subscription filter.
    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        kind = {"event": {"DataType": "String", "StringValue": event.partition("-")[0]}}
        boto3.client("sns").publish(TopicArn=topic, Subject=subject_line(subject), Message=message, MessageAttributes=kind)
    except (BotoCoreError, ClientError) as error:
        log.warning("the notice %r could not be sent: %s", subject, error)
