"""JSONata inside state machine definitions: `{% expression %}` strings, evaluated with AWS semantics.

Source: AWS Step Functions developer guide, "Transforming data with JSONata".
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import uuid
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jsonata import Jsonata
from jsonata.utils import Utils

from twin.faults import StateFailure
from twin.integrations import Json

QUERY_ERROR = "States.QueryEvaluationError"
MAX_RANGE = 1000


class BadExpression(ValueError):
    """A JSONata text that does not parse, or uses a function that Step Functions does not offer."""


def is_expression(value: Json) -> bool:
    """True for a string that Step Functions evaluates: it starts with `{%` and ends with `%}`, nothing around them."""
    return isinstance(value, str) and value.startswith("{%") and value.endswith("%}") and len(value) >= 4


@lru_cache(maxsize=4096)
def compile_expression(text: str) -> Jsonata:
    """Parse `{% ... %}` once. Raises BadExpression."""
    try:
        parsed = Jsonata(text[2:-2].strip())
    except Exception as error:  # the library raises bare TypeError and IndexError on some malformed texts
        raise BadExpression(f"JSONata does not parse: {error}: {text}") from error
    parsed.set_output_convert_nulls(False)
    for name, function in FUNCTIONS.items():
        parsed.register_lambda(name, function)
    return parsed


def evaluate(template: Json, bindings: Mapping[str, Json], where: str) -> Json:
    """Evaluate every expression inside `template` (any JSON value); other values stay as they are.

    `where` names the state and field for the Cause. Raises StateFailure States.QueryEvaluationError for an undefined result
    (AWS: "JSONata expressions must produce a defined value") and for anything that goes wrong while evaluating.
    """
    if isinstance(template, str):
        return _evaluate_text(template, bindings, where) if is_expression(template) else template
    if isinstance(template, dict):
        return {key: evaluate(value, bindings, f"{where}/{key}") for key, value in template.items()}
    if isinstance(template, list):
        return [evaluate(value, bindings, f"{where}[{index}]") for index, value in enumerate(template)]
    return template


def _evaluate_text(text: str, bindings: Mapping[str, Json], where: str) -> Json:
    try:
        expression = compile_expression(text)
        value = expression.evaluate(None, {name: _bound(value) for name, value in bindings.items()})
        if value is not None:
            return plain(value)
    except Exception as error:  # JException, but also bare TypeError, KeyError, RecursionError from inside the library
        raise StateFailure(QUERY_ERROR, f"The JSONata expression '{text[2:-2].strip()}' at {where} failed: {error}") from error
    raise StateFailure(QUERY_ERROR, f"The JSONata expression '{text[2:-2].strip()}' at {where} returned nothing (undefined).")


def _bound(value: Json) -> Json:
    return Utils.NULL_VALUE if value is None else value


def plain(value: Any) -> Json:
    """A JSONata result as plain JSON values. Raises ValueError for what JSON cannot hold, such as a function."""
    if value is None or value is Utils.NULL_VALUE:
        return None
    if isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("the result is not a finite number")
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    raise ValueError(f"the result is a {type(value).__name__}, not a JSON value")


def _partition(array: list[Json], size: Json) -> list[list[Json]]:
    if isinstance(size, bool) or not isinstance(size, int | float) or int(size) < 1:
        raise ValueError("$partition needs a chunk size of 1 or more")
    return [list(array[start : start + int(size)]) for start in range(0, len(array), int(size))]


def _range(first: float, last: float, step: float = 1) -> list[Json]:
    """First to last, inclusive. AWS refuses a step of 0 and more than 1,000 items."""
    if step == 0:
        raise ValueError("$range cannot step by 0")
    count = max(0, math.floor((last - first) / step + 1e-9) + 1)
    if count > MAX_RANGE:
        raise ValueError(f"$range is limited to {MAX_RANGE} items")
    return [first + step * index for index in range(count)]


_ALGORITHMS = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}


def _hash(content: Json, algorithm: str) -> str:
    if algorithm not in _ALGORITHMS:
        raise ValueError(f"$hash knows {', '.join(_ALGORITHMS)}, not {algorithm!r}")
    text = content if isinstance(content, str) else json.dumps(plain(content), separators=(",", ":"))
    return hashlib.new(_ALGORITHMS[algorithm], text.encode()).hexdigest()


def _random(seed: Json = None) -> float:
    return random.random() if seed is None else random.Random(seed).random()


def _uuid() -> str:
    return str(uuid.uuid4())


def _parse(text: str | None = None) -> Json:
    if not isinstance(text, str):
        raise ValueError("$parse needs a string of JSON")
    return _bound(json.loads(text))


def _eval(*_: Json) -> Json:
    raise ValueError("Step Functions does not support $eval; use $parse")


FUNCTIONS = {
    "partition": _partition,
    "range": _range,
    "hash": _hash,
    "random": _random,
    "uuid": _uuid,
    "parse": _parse,
    "eval": _eval,
}
