"""How complex EventBridge finds a rule's wildcards. Beyond a limit it refuses to create the rule, which no checker knows.

It counts the beginnings of wildcards that one text may have met at the same time, those inside `anything-but` too, as
event-ruler's MachineComplexityEvaluator does. The limit is told nowhere; ten agrees with the rules that people report.
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MOST_COMPLEX = 10
State = frozenset[tuple[int, int]]
"""What a text has met so far: (wildcard, place in it)."""


def wildcards_of(pattern: Any) -> list[str]:
    """Every wildcard in an event pattern."""

    def walk(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            found = value.get("wildcard", [])
            yield from [found] if isinstance(found, str) else found
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from walk(inner)

    return list(walk(pattern))


def complexity(wildcards: list[str]) -> int:
    """The most places that one text can have come to at once."""
    texts = [f'"{wildcard}"' for wildcard in wildcards]
    letters = {*"".join(texts)} - {"*"} | {"any other"}
    waiting: list[State] = [frozenset((number, -1) for number in range(len(texts)))]
    seen: set[State] = set()
    most = 0
    while waiting:
        state = waiting.pop()
        for letter in letters:
            reached = frozenset(place for one in state for place in _step(texts, one, letter))
            ahead = {(number, at + 1) for number, at in reached if texts[number][at + 1 : at + 2] == "*"}
            most = max(most, len(reached | ahead))
            if reached not in seen:
                seen.add(reached)
                waiting.append(reached)
    return most


def _step(texts: list[str], place: tuple[int, int], letter: str) -> Iterator[tuple[int, int]]:
    """Where a letter leads from a place; a star takes any letter, or none."""
    number, at = place
    text = texts[number]
    if at >= 0 and text[at] == "*":
        yield number, at
    following = text[at + 1 : at + 2]
    if following == "*":
        yield number, at + 1
        at += 1
    if text[at + 1 : at + 2] == letter:
        yield number, at + 1
