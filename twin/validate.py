"""Refuses, when a definition is registered, everything that the twin would not run as AWS does.

A definition that passes has only states, fields, resources and readers that twin/machine.py and twin/maps.py implement.
Source: Amazon States Language specification; what is refused is listed in DESIGN section "The twin".
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from twin.faults import InvalidDefinition
from twin.jsonata import BadExpression, compile_expression, is_expression

State = dict[str, Any]

_COMMON = {"Type", "Comment", "QueryLanguage"}
_FLOWING = _COMMON | {"Next", "End", "Output", "Assign"}
_FIELDS = {
    "Task": _FLOWING | {"Resource", "Arguments", "TimeoutSeconds", "HeartbeatSeconds", "Retry", "Catch"},
    "Map": _FLOWING
    | {"Items", "ItemSelector", "ItemProcessor", "ItemReader", "ResultWriter", "MaxConcurrency", "Label", "Retry", "Catch"}
    | {"ToleratedFailureCount", "ToleratedFailurePercentage"},
    "Pass": _FLOWING,
    "Wait": _FLOWING | {"Seconds", "Timestamp"},
    "Choice": _COMMON | {"Choices", "Default", "Output", "Assign"},
    "Succeed": _COMMON | {"Output"},
    "Fail": _COMMON | {"Error", "Cause"},
}
_JSONPATH = {
    "InputPath",
    "OutputPath",
    "ResultPath",
    "Parameters",
    "ResultSelector",
    "ItemsPath",
    "SecondsPath",
    "TimestampPath",
}
_JSONPATH |= {"TimeoutSecondsPath", "HeartbeatSecondsPath", "MaxConcurrencyPath", "ErrorPath", "CausePath", "Variable"}
_TOP = {"Comment", "QueryLanguage", "StartAt", "States", "TimeoutSeconds", "Version"}
_RETRY = {"ErrorEquals", "IntervalSeconds", "MaxAttempts", "BackoffRate", "MaxDelaySeconds", "JitterStrategy", "Comment"}
_CATCH = {"ErrorEquals", "Next", "Output", "Assign", "Comment"}
_RULE = {"Condition", "Next", "Output", "Assign", "Comment"}
# What twin/services.py answers: the first four itself, the rest through moto.
_RESOURCES = {
    "lambda:invoke",
    "lambda:invoke.waitForTaskToken",
    "batch:submitJob.sync",
    "states:startExecution",
    "sqs:sendMessage",
    "sns:publish",
    "events:putEvents",
    "dynamodb:putItem",
    "dynamodb:getItem",
    "dynamodb:updateItem",
    "dynamodb:deleteItem",
}
_PREFIX = re.compile(r"arn:[a-z-]+:states:::")
_DISTRIBUTED_ONLY = ("ItemReader", "ResultWriter", "Label", "ToleratedFailureCount", "ToleratedFailurePercentage")


def validate(definition: str, kind: str) -> dict[str, Any]:
    """The parsed definition, if the twin can run it. Raises InvalidDefinition naming state and field."""
    try:
        flow = json.loads(definition, object_pairs_hook=_no_duplicates)
    except ValueError as error:
        raise InvalidDefinition(f"The definition is not JSON: {error}") from error
    if not isinstance(flow, dict):
        raise InvalidDefinition("The definition must be a JSON object.")
    if flow.get("QueryLanguage") != "JSONata":
        raise InvalidDefinition("The field 'QueryLanguage' must be 'JSONata'; the twin does not run JSONPath.")
    if flow.get("Version", "1.0") != "1.0":
        raise InvalidDefinition("The field 'Version' must be '1.0'.")
    limit = flow.get("TimeoutSeconds")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit <= 0):
        raise InvalidDefinition("The field 'TimeoutSeconds' of the machine must be a positive integer.")
    _Checker(kind).block(flow, _TOP, "the machine", frozenset(), distributed=False)
    return flow


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name '{next(name for name in names if names.count(name) > 1)}' appears twice in one object")
    return found


def _refuse(state: str, field: str, why: str) -> NoReturn:
    raise InvalidDefinition(f"State '{state}', field '{field}': {why}")


class _Checker:
    """Walks a definition. State names must be unique in the whole machine."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.names: set[str] = set()

    def block(self, flow: State, allowed: set[str], owner: str, outer: frozenset[str], distributed: bool) -> None:
        """A StartAt/States block. `outer` holds the variables assigned outside, which it may read but not assign."""
        for field in flow.keys() - allowed:
            _refuse(owner, field, "the twin does not know this field.")
        states = flow.get("States")
        if not isinstance(states, dict) or not states:
            _refuse(owner, "States", "must be an object with at least one state.")
        if flow.get("StartAt") not in states:
            _refuse(owner, "StartAt", f"names '{flow.get('StartAt')}', which is no state of this block.")
        for name in states:
            if name in self.names:
                _refuse(name, "States", "a state name may be used only once in a machine.")
            if not 1 <= len(name) <= 80:
                _refuse(name, "States", "a state name has 1 to 80 characters.")
            self.names.add(name)
        assigned = frozenset(variable for state in states.values() for variable in _assigned(state))
        for name, state in states.items():
            self._state(name, state, states, outer, assigned, distributed)
        self._reachable(flow["StartAt"], states)

    def _state(
        self, name: str, state: State, states: State, outer: frozenset[str], assigned: frozenset[str], distributed: bool
    ) -> None:
        kind = state.get("Type")
        if kind not in _FIELDS:
            _refuse(name, "Type", f"the twin does not run '{kind}' states.")
        if state.get("QueryLanguage", "JSONata") != "JSONata":
            _refuse(name, "QueryLanguage", "the twin runs JSONata only.")
        for field in sorted(state.keys() - _FIELDS[kind]):
            why = (
                "is a JSONPath field; the twin runs JSONata only."
                if field in _JSONPATH
                else f"the twin does not know it on {kind}."
            )
            _refuse(name, field, why)
        for variable in _assigned(state):
            if variable == "states" or not variable.isidentifier() or len(variable) > 80:
                _refuse(name, "Assign", f"'{variable}' is no variable name (`states` is reserved).")
            if variable in outer:
                _refuse(name, "Assign", f"'{variable}' belongs to an outer scope, which an inner one may read but not assign.")
        self._expressions(name, "", {key: value for key, value in state.items() if key != "ItemProcessor"})
        self._way_on(name, state, states)
        if kind == "Task":
            self._task(name, state)
        elif kind == "Map":
            self._map(name, state, outer | assigned, distributed)
        elif kind == "Choice":
            self._choice(name, state)
        elif kind == "Wait" and ("Seconds" in state) == ("Timestamp" in state):
            _refuse(name, "Seconds", "a Wait has either Seconds or Timestamp.")
        self._rules(name, state)

    def _expressions(self, name: str, field: str, value: Any) -> None:
        """Every JSONata text must parse."""
        if isinstance(value, dict):
            for key, inner in value.items():
                if key.endswith(".$"):
                    _refuse(name, f"{field}/{key}".lstrip("/"), "is a JSONPath field; the twin runs JSONata only.")
                self._expressions(name, f"{field}/{key}".lstrip("/"), inner)
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                self._expressions(name, f"{field}[{index}]", inner)
        elif is_expression(value):
            try:
                compile_expression(value)
            except BadExpression as error:
                _refuse(name, field, str(error))
            if re.search(r"\$eval\s*\(", value):
                _refuse(name, field, "Step Functions does not offer $eval; use $parse.")
        elif isinstance(value, str) and (value.strip().startswith("{%") or value.strip().endswith("%}")):
            _refuse(name, field, "an expression must start with '{%' and end with '%}', without spaces around.")

    def _way_on(self, name: str, state: State, states: State) -> None:
        targets = list(_targets(state))
        for target in targets:
            if target not in states:
                _refuse(name, "Next", f"names '{target}', which is no state of this block.")
        if state["Type"] in ("Task", "Map", "Pass", "Wait") and ("Next" in state) == (state.get("End") is True):
            _refuse(name, "Next", "a state needs either Next or End: true.")
        if "End" in state and state["End"] is not True:
            _refuse(name, "End", "must be true where it is given.")

    def _task(self, name: str, state: State) -> None:
        resource = state.get("Resource")
        if not isinstance(resource, str) or not _PREFIX.match(resource):
            _refuse(
                name,
                "Resource",
                f"'{resource}' is not supported; use an optimized integration such as ...:states:::lambda:invoke.",
            )
        service = _PREFIX.sub("", resource)
        if service not in _RESOURCES:
            _refuse(name, "Resource", f"the twin does not run '{service}'; it runs {', '.join(sorted(_RESOURCES))}.")
        if self.kind == "EXPRESS" and service.endswith((".sync", ".waitForTaskToken")):
            _refuse(name, "Resource", "an Express machine runs neither .sync nor .waitForTaskToken tasks.")
        for field in ("TimeoutSeconds", "HeartbeatSeconds"):
            limit = state.get(field, 1)
            if not is_expression(limit) and (isinstance(limit, bool) or not isinstance(limit, int) or limit <= 0):
                _refuse(name, field, "must be a positive integer or an expression.")
        timeout, heartbeat = state.get("TimeoutSeconds", 99999999), state.get("HeartbeatSeconds", 0)
        if isinstance(timeout, int) and isinstance(heartbeat, int) and heartbeat >= timeout:
            _refuse(name, "HeartbeatSeconds", "must be smaller than TimeoutSeconds.")

    def _map(self, name: str, state: State, visible: frozenset[str], distributed: bool) -> None:
        processor = state.get("ItemProcessor")
        if not isinstance(processor, dict):
            _refuse(name, "ItemProcessor", "a Map needs one.")
        config = processor.get("ProcessorConfig", {})
        for field in config.keys() - {"Mode", "ExecutionType"}:
            _refuse(name, f"ItemProcessor/ProcessorConfig/{field}", "the twin does not know this field.")
        mode = config.get("Mode", "INLINE")
        if mode not in ("INLINE", "DISTRIBUTED"):
            _refuse(name, "ItemProcessor/ProcessorConfig/Mode", "must be INLINE or DISTRIBUTED.")
        if mode == "DISTRIBUTED":
            if distributed:
                _refuse(name, "ItemProcessor/ProcessorConfig/Mode", "the twin does not run a Distributed Map inside another.")
            if self.kind == "EXPRESS":
                _refuse(name, "ItemProcessor/ProcessorConfig/Mode", "an Express machine cannot run a Distributed Map.")
            if config.get("ExecutionType") not in ("STANDARD", "EXPRESS"):
                _refuse(name, "ItemProcessor/ProcessorConfig/ExecutionType", "must be STANDARD or EXPRESS.")
            self._distributed(name, state)
            visible = frozenset()
        else:
            for field in _DISTRIBUTED_ONLY:
                if field in state:
                    _refuse(name, field, "belongs to a DISTRIBUTED Map.")
        allowed = {"Comment", "StartAt", "States", "ProcessorConfig", "QueryLanguage"}
        self.block(processor, allowed, name, visible, distributed or mode == "DISTRIBUTED")

    def _distributed(self, name: str, state: State) -> None:
        if "Label" in state and not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", str(state["Label"])):
            _refuse(name, "Label", "has 1 to 40 letters, digits, '-' or '_'.")
        reader = state.get("ItemReader")
        if reader is not None:
            if "Items" in state:
                _refuse(name, "Items", "a Map has either Items or ItemReader.")
            self._only(name, "ItemReader", reader, {"Resource", "ReaderConfig", "Arguments"})
            self._s3(name, "ItemReader", reader, "s3:getObject", {"Bucket", "Key"})
            config = reader.get("ReaderConfig", {})
            self._only(name, "ItemReader/ReaderConfig", config, {"InputType", "MaxItems"})
            if config.get("InputType") not in ("JSON", "JSONL"):
                _refuse(name, "ItemReader/ReaderConfig/InputType", "the twin reads JSON and JSONL.")
        writer = state.get("ResultWriter")
        if writer is not None:
            self._only(name, "ResultWriter", writer, {"Resource", "WriterConfig", "Arguments"})
            if "Resource" in writer:
                self._s3(name, "ResultWriter", writer, "s3:putObject", {"Bucket", "Prefix"})
            config = writer.get("WriterConfig", {})
            self._only(name, "ResultWriter/WriterConfig", config, {"OutputType", "Transformation"})
            if config.get("OutputType", "JSON") not in ("JSON", "JSONL"):
                _refuse(name, "ResultWriter/WriterConfig/OutputType", "must be JSON or JSONL.")
            if config.get("Transformation", "NONE") not in ("NONE", "COMPACT", "FLATTEN"):
                _refuse(name, "ResultWriter/WriterConfig/Transformation", "must be NONE, COMPACT or FLATTEN.")

    def _s3(self, name: str, field: str, value: State, action: str, arguments: set[str]) -> None:
        if _PREFIX.sub("", str(value.get("Resource"))) != action:
            _refuse(name, f"{field}/Resource", f"the twin supports {action} only.")
        self._only(name, f"{field}/Arguments", value.get("Arguments"), arguments)
        if "Bucket" not in value["Arguments"] or (action == "s3:getObject" and "Key" not in value["Arguments"]):
            _refuse(name, f"{field}/Arguments", f"needs {', '.join(sorted(arguments))}.")

    def _only(self, name: str, field: str, value: Any, allowed: set[str]) -> None:
        if not isinstance(value, dict):
            _refuse(name, field, "must be an object.")
        for key in sorted(value.keys() - allowed):
            _refuse(name, f"{field}/{key}", "the twin does not know this field.")

    def _choice(self, name: str, state: State) -> None:
        if not isinstance(state.get("Choices"), list) or not state["Choices"]:
            _refuse(name, "Choices", "must be an array with at least one rule.")
        for index, rule in enumerate(state["Choices"]):
            self._only(name, f"Choices[{index}]", rule, _RULE)
            if not (isinstance(rule.get("Condition"), bool) or is_expression(rule.get("Condition"))):
                _refuse(name, f"Choices[{index}]/Condition", "must be a JSONata expression or a boolean.")
            if "Next" not in rule:
                _refuse(name, f"Choices[{index}]/Next", "is missing.")

    def _rules(self, name: str, state: State) -> None:
        for field, allowed in (("Retry", _RETRY), ("Catch", _CATCH)):
            rules = state.get(field, [])
            for index, rule in enumerate(rules):
                where = f"{field}[{index}]"
                self._only(name, where, rule, allowed)
                errors = rule.get("ErrorEquals")
                if not isinstance(errors, list) or not errors or not all(isinstance(error, str) for error in errors):
                    _refuse(name, f"{where}/ErrorEquals", "must be a non-empty array of error names.")
                if "States.ALL" in errors and (len(errors) > 1 or index != len(rules) - 1):
                    _refuse(name, f"{where}/ErrorEquals", "States.ALL must stand alone and in the last rule.")
                if field == "Catch" and "Next" not in rule:
                    _refuse(name, f"{where}/Next", "is missing.")
                if field == "Retry":
                    self._retry_numbers(name, where, rule)

    def _retry_numbers(self, name: str, where: str, rule: State) -> None:
        for number, low, high, whole in (
            ("IntervalSeconds", 1, 99999999, True),
            ("MaxAttempts", 0, 99999999, True),
            ("BackoffRate", 1.0, float("inf"), False),
            ("MaxDelaySeconds", rule.get("IntervalSeconds", 1) + 1, 31622399, True),
        ):
            value = rule.get(number)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not low <= value <= high:
                _refuse(name, f"{where}/{number}", f"must be {'an integer' if whole else 'a number'} from {low} to {high}.")
        if rule.get("JitterStrategy", "NONE") not in ("NONE", "FULL"):
            _refuse(name, f"{where}/JitterStrategy", "must be NONE or FULL.")

    def _reachable(self, start: str, states: State) -> None:
        seen: set[str] = set()
        todo = [start]
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo += _targets(states[name])
        for name in states.keys() - seen:
            _refuse(name, "States", "no state leads here.")


def _targets(state: State) -> list[str]:
    rules = [*state.get("Choices", []), *state.get("Catch", [])]
    found = [state.get("Next"), state.get("Default"), *(rule.get("Next") for rule in rules if isinstance(rule, dict))]
    return [target for target in found if target is not None]


def _assigned(state: State) -> list[str]:
    rules = [state, *state.get("Choices", []), *state.get("Catch", [])]
    return [variable for rule in rules if isinstance(rule, dict) for variable in rule.get("Assign", {})]
