"""What people are told on the topic."""

from typing import Any

import boto3
import pytest

from tilery import manifest, notices
from tilery.run import Manifest, Trigger
from tilery.store.directory import DirectoryStore


def test_a_failure_in_many_lines_is_told_once_with_a_subject_that_sns_takes(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []

    class Topic:
        def publish(self, **message: Any) -> None:
            sent.append(message)

    monkeypatch.setenv("TILERY_TOPIC", "arn:aws:sns:eu-west-1:123456789012:notices")
    monkeypatch.setattr(boto3, "client", lambda service: Topic())
    trigger = Trigger(bucket="drop", key="drop/acme/sums/Z\u00fcrich.txt", version="1")
    given = Manifest(
        run_id="1" * 64,
        tenant="acme",
        workload="sums",
        dataset="Z\u00fcrich",
        trigger=trigger,
        received="2026-11-21T00:00:00+00:00",
    )
    store = DirectoryStore(tmp_path)
    manifest.write(store, given)
    cause = "Tilery: sums/Z\u00fcrich failed: Traceback\n\tfile" + 200 * "x" + "\x00"
    assert [notices.send(store, given, "failed-0", cause, {"run_id": given.run_id}) for _ in range(2)] == [True, False]
    (message,) = sent
    assert message["Subject"].startswith("Tilery: sums/Z\u00fcrich failed: Traceback filexx")
    assert len(message["Subject"]) < 100
    assert message["Subject"].isprintable()
    assert cause.splitlines()[0] in message["Message"]
    assert message["MessageAttributes"] == {"event": {"DataType": "String", "StringValue": "failed"}}
