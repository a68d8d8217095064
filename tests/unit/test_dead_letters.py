"""Uploads that nobody could take in are handed in again for a day; other letters are left to people."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tilery import dead_letters

INGEST = "arn:aws:states:eu-west-1:123456789012:stateMachine:tilery-dev-ingest"


class Queue:
    """Letters as SQS gives them out: ten at a time, each hidden once it was received."""

    def __init__(self, *bodies: str) -> None:
        self.letters = {str(number): body for number, body in enumerate(bodies)}
        self.hidden: set[str] = set()

    def receive_message(self, *, QueueUrl: str, MaxNumberOfMessages: int, VisibilityTimeout: int) -> dict[str, Any]:
        seen = [handle for handle in self.letters if handle not in self.hidden][:MaxNumberOfMessages]
        self.hidden |= set(seen)
        found = [{"Body": self.letters[handle], "ReceiptHandle": handle} for handle in seen]
        return {"Messages": found} if found else {}

    def delete_message(self, *, QueueUrl: str, ReceiptHandle: str) -> None:
        del self.letters[ReceiptHandle]


class Machines:
    def __init__(self, fails: bool = False) -> None:
        self.started: list[Any] = []
        self._fails = fails

    def start_execution(self, *, stateMachineArn: str, input: str) -> None:
        assert stateMachineArn == INGEST
        if self._fails:
            raise ConnectionError("no answer")
        self.started.append(json.loads(input))


def upload(hours_ago: float, key: str = "drop/acme/sums/a.txt") -> dict[str, Any]:
    time = datetime.now(UTC) - timedelta(hours=hours_ago)
    return {"source": "aws.s3", "time": f"{time:%Y-%m-%dT%H:%M:%SZ}", "detail": {"object": {"key": key}}}


def test_young_uploads_are_handed_in_once_each_whoever_kept_them() -> None:
    throttled = {"Error": "Lambda.TooManyRequestsException"}
    kept = [json.dumps({"event": upload(1, str(number)), "error": throttled}) for number in range(23)]
    queue, machines = Queue(*kept, json.dumps(upload(2))), Machines()
    assert dead_letters.hand_in_again(queue, machines, "url", INGEST) == 24
    assert [event["detail"]["object"]["key"] for event in machines.started[:3]] == ["0", "1", "2"]
    assert queue.letters == {}
    assert dead_letters.hand_in_again(queue, machines, "url", INGEST) == 0


@pytest.mark.parametrize(
    "letter",
    [
        json.dumps({"event": upload(25)}),
        json.dumps({"source": "aws.states", "time": "2026-11-21T03:04:59Z"}),
        json.dumps({"source": "aws.s3", "time": "yesterday"}),
        json.dumps({"source": "aws.s3", "time": "2026-11-21T03:04:59"}),
        json.dumps({"event": "text"}),
        json.dumps(["a", "list"]),
        "no JSON",
    ],
)
def test_old_letters_and_those_about_something_else_wait_for_a_person(letter: str) -> None:
    queue, machines = Queue(letter), Machines()
    assert dead_letters.hand_in_again(queue, machines, "url", INGEST) == 0
    assert (list(queue.letters.values()), machines.started) == ([letter], [])


def test_a_letter_stays_until_its_upload_was_handed_in() -> None:
    queue = Queue(json.dumps(upload(0)))
    with pytest.raises(ConnectionError):
        dead_letters.hand_in_again(queue, Machines(fails=True), "url", INGEST)
    assert len(queue.letters) == 1
