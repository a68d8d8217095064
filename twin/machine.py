"""Runs the states of one execution: what each state type does, and how a state is entered, retried, caught and left.

Source: Amazon States Language specification (states-language.net) and the AWS Step Functions developer guide.
Nothing here keeps state of its own: every change is a journal record applied to a scope (twin/scope.py).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime

from twin import maps, retry
from twin.faults import StateFailure
from twin.integrations import Json, TaskContext, TaskFailed
from twin.jsonata import QUERY_ERROR, evaluate
from twin.running import Block, Execution, Overrun, Services, State, TokenWait, bounded, cancel_all, check_size, timestamp
from twin.scope import MISSING, Scope

WAIT_FOR_TOKEN = ".waitForTaskToken"


@dataclass(slots=True)
class Leaving:
    """How a state is left."""

    output: Json
    assign: dict[str, Json]
    next: str | None


class Interpreter:
    """Runs blocks of states for one execution."""

    def __init__(self, services: Services, execution: Execution) -> None:
        self.services = services
        self.execution = execution

    def inside(self, execution: Execution) -> Interpreter:
        """The interpreter of a child execution."""
        return Interpreter(self.services, execution)

    def emit(self, scope: Scope, path: tuple[int, ...], kind: str, /, **fields: Json) -> None:
        """Journal one record and apply it."""
        record = {"type": kind, "t": self.services.clock.now(), "p": list(path), **fields}
        self.execution.journal.append(record)
        scope.apply(record)

    async def run(self, block: Block) -> Json:
        """Run the block from where its scope stands to its end and return the output. Raises StateFailure."""
        scope = block.scope
        while not scope.finished:
            if scope.state is None:
                self._enter(block, scope.next or block.flow["StartAt"])
            assert scope.state is not None
            state = block.flow["States"][scope.state]
            leaving = await self._visit(block, state)
            self.emit(
                scope,
                block.path,
                f"{state['Type']}StateExited",
                state=scope.state,
                output=leaving.output,
                **({"assign": leaving.assign} if leaving.assign else {}),
                **({"next": leaving.next} if leaving.next else {}),
            )
        return scope.input

    def bindings(self, block: Block, **states: Json) -> dict[str, Json]:
        """The variables that an expression sees, with `$states`."""
        return {**block.variables, "states": {"input": block.scope.input, "context": self.context(block), **states}}

    def context(self, block: Block) -> dict[str, Json]:
        """The context object of the current state."""
        scope, execution = block.scope, self.execution
        root = execution.scope
        about: dict[str, Json] = {
            "Id": execution.arn,
            "Input": root.first_input,
            "Name": execution.name,
            "RoleArn": execution.role,
            "StartTime": timestamp(root.started),
        }
        if root.redriven_at is not None:
            about |= {"RedriveCount": root.redrives, "RedriveTime": timestamp(root.redriven_at)}
        context: dict[str, Json] = {
            "Execution": about,
            "State": {"EnteredTime": timestamp(scope.entered), "Name": scope.state, "RetryCount": scope.retry_count},
            "StateMachine": {"Id": execution.machine_arn, "Name": execution.machine},
        }
        if block.item is not None:
            context["Map"] = {"Item": block.item}
        return context

    def _enter(self, block: Block, name: str) -> None:
        kind = block.flow["States"][name]["Type"]
        check_size(block.scope.input, f"input of the state '{name}'")
        self.emit(block.scope, block.path, f"{kind}StateEntered", state=name, input=block.scope.input)

    async def _visit(self, block: Block, state: State) -> Leaving:
        """Perform the state until it succeeds, is caught, or fails for good."""
        scope, clock = block.scope, self.services.clock
        while True:
            if scope.retry_at is not None and scope.retry_at > clock.now():
                self.execution.journal.flush()
                await clock.sleep(scope.retry_at - clock.now())
            try:
                leaving = await self._perform(block, state)
                check_size(leaving.output, f"output of the state '{scope.state}'")
                return leaving
            except StateFailure as failure:
                caught = self._recover(block, state, failure)
                if caught is not None:
                    return caught

    async def _perform(self, block: Block, state: State) -> Leaving:
        match state["Type"]:
            case "Task":
                return self._leave(block, state, await self._task(block, state))
            case "Map":
                return self._leave(block, state, await maps.run_map(self, block, state))
            case "Choice":
                return self._choice(block, state)
            case "Wait":
                await self._wait(block, state)
            case "Fail":
                bindings = self.bindings(block)
                error, cause = (
                    evaluate(state.get(name, ""), bindings, f"{block.scope.state}/{name}") for name in ("Error", "Cause")
                )
                raise StateFailure(str(error), str(cause))
        return self._leave(block, state)

    def _leave(
        self, block: Block, rule: State, result: Json = MISSING, next_state: str | None = None, **states: Json
    ) -> Leaving:
        """Evaluate `Assign` and `Output` of a state, Choice rule or Catch rule, both over the variables as they were."""
        default = block.scope.input
        if result is not MISSING:
            states["result"] = default = result
        if "errorOutput" in states:
            default = states["errorOutput"]
        output, assign = default, {}
        if "Output" in rule or "Assign" in rule:
            bindings = self.bindings(block, **states)
            output = evaluate(rule["Output"], bindings, f"{block.scope.state}/Output") if "Output" in rule else default
            assign = evaluate(rule.get("Assign", {}), bindings, f"{block.scope.state}/Assign")
            check_size(assign, f"set of variables assigned by the state '{block.scope.state}'")
        return Leaving(output, assign, next_state or rule.get("Next"))

    def _recover(self, block: Block, state: State, failure: StateFailure) -> Leaving | None:
        """Schedule a retry (None), leave by a Catch rule, or raise the failure again."""
        scope, where = block.scope, block.path
        if failure.error == QUERY_ERROR and scope.attempt.error is None:
            self.emit(scope, where, "EvaluationFailed", state=scope.state, error=failure.error, cause=failure.cause)
        rules = state.get("Retry", [])
        if (chosen := retry.first_match(rules, failure.error)) is not None:
            delay = retry.delay_s(rules[chosen], scope.retries.get(chosen, 0))
            if delay is not None:
                self.emit(
                    scope, where, "RetryScheduled", rule=chosen, until=self.services.clock.now() + delay, error=failure.error
                )
                return None
        catchers = state.get("Catch", [])
        if (chosen := retry.first_match(catchers, failure.error)) is not None:
            return self._leave(block, catchers[chosen], errorOutput={"Error": failure.error, "Cause": failure.cause})
        raise failure

    def _choice(self, block: Block, state: State) -> Leaving:
        bindings = self.bindings(block)
        for index, rule in enumerate(state["Choices"]):
            where = f"{block.scope.state}/Choices[{index}]/Condition"
            chosen = evaluate(rule["Condition"], bindings, where)
            if not isinstance(chosen, bool):
                raise StateFailure(QUERY_ERROR, f"The condition at {where} must be true or false, but is {str(chosen)[:200]}.")
            if chosen:
                return self._leave(block, rule)
        if "Default" in state:
            return self._leave(block, state, next_state=state["Default"])
        raise StateFailure(
            "States.NoChoiceMatched", f"No rule of the state '{block.scope.state}' matched and it has no Default."
        )

    async def _wait(self, block: Block, state: State) -> None:
        clock, name, scope = self.services.clock, block.scope.state, block.scope
        bindings = self.bindings(block)
        if "Seconds" in state:
            seconds = evaluate(state["Seconds"], bindings, f"{name}/Seconds")
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= 99999999:
                raise StateFailure(QUERY_ERROR, f"{name}/Seconds must be a number from 0 to 99999999, but is {seconds!r}.")
            until = scope.entered + seconds
        else:
            moment = evaluate(state["Timestamp"], bindings, f"{name}/Timestamp")
            try:
                until = datetime.fromisoformat(str(moment).replace("Z", "+00:00")).timestamp()
            except ValueError as error:
                raise StateFailure(QUERY_ERROR, f"{name}/Timestamp must be an ISO 8601 time, but is {moment!r}.") from error
        if until > clock.now():
            self.execution.journal.flush()
            await clock.sleep(until - clock.now())

    def limit_s(self, block: Block, state: State, name: str, bindings: Mapping[str, Json]) -> float | None:
        """TimeoutSeconds or HeartbeatSeconds of a state, which may be an expression."""
        if name not in state:
            return None
        value = evaluate(state[name], bindings, f"{block.scope.state}/{name}")
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise StateFailure(QUERY_ERROR, f"{block.scope.state}/{name} must be a positive integer, but is {value!r}.")
        return float(value)

    async def _task(self, block: Block, state: State) -> Json:
        """One attempt at a task; a result or failure that the journal already holds is not asked for again."""
        if block.scope.attempt.result is MISSING and block.scope.attempt.error is None:
            await self._attempt(block, state)
        attempt = block.scope.attempt
        if attempt.error is not None:
            raise StateFailure(*attempt.error)
        check_size(attempt.result, f"result of the state '{block.scope.state}'")
        return attempt.result

    async def _attempt(self, block: Block, state: State) -> None:
        scope = block.scope
        resource = state["Resource"].split(":::", 1)[1]
        waits = resource.endswith(WAIT_FOR_TOKEN)
        token = (scope.attempt.token or secrets.token_urlsafe(48)) if waits else None
        bindings = self.bindings(block)
        if token is not None:
            bindings["states"]["context"]["Task"] = {"Token": token}
        timeout = self.limit_s(block, state, "TimeoutSeconds", bindings)
        heartbeat = self.limit_s(block, state, "HeartbeatSeconds", bindings)
        arguments = evaluate(state.get("Arguments", {}), bindings, f"{scope.state}/Arguments")
        check_size(arguments, f"set of arguments of the state '{scope.state}'")
        # a time limit is for the task, not for the turns of others before it: AWS would refuse, and Retry would wait
        async with nullcontext() if waits else self.services.integrations.room(resource, arguments):
            await self._call(block, resource, arguments, token, timeout, heartbeat)

    async def _call(
        self, block: Block, resource: str, arguments: Json, token: str | None, timeout: float | None, heartbeat: float | None
    ) -> None:
        """Schedule the task, make the call and journal how it ended."""
        scope, clock = block.scope, self.services.clock
        if not scope.attempt.submitted:
            limits = {"timeout": timeout, "heartbeat": heartbeat} if timeout or heartbeat else {}
            held = {"token": token} if token else {}
            self.emit(scope, block.path, "TaskScheduled", resource=resource, arguments=arguments, **held, **limits)
            self.emit(scope, block.path, "TaskStarted", resource=resource)
        self.execution.journal.flush()

        def settle(kind: str, fields: dict[str, Json]) -> None:
            self.emit(scope, block.path, kind, resource=resource, **fields)
            self.execution.journal.flush_soon_synced()

        assert scope.state is not None
        assert scope.attempt.scheduled is not None
        execution = self.execution
        task = TaskContext(execution.arn, execution.name, scope.state, token, scope.retry_count, execution.run_id)
        try:
            if token is None:
                left = None if timeout is None else scope.attempt.scheduled + timeout - clock.now()
                result = await bounded(clock, self.services.integrations.call(resource, arguments, task), left)
                settle("TaskSucceeded", {"output": result})
            else:
                wait = TokenWait(asyncio.get_running_loop().create_future(), settle, clock.now())
                call = None if scope.attempt.submitted else self.services.integrations.call(resource, arguments, task)
                await self._await_token(token, wait, call, scope.attempt.scheduled, timeout, heartbeat)
        except TaskFailed as failure:
            settle("TaskFailed", {"error": failure.error, "cause": failure.cause})
        except Overrun as overrun:
            error = overrun.args[0] if overrun.args else "States.Timeout"
            settle("TaskTimedOut", {"error": error, "cause": f"The state '{scope.state}' ran out of its time."})

    async def _await_token(
        self,
        token: str,
        wait: TokenWait,
        call: Awaitable[Json] | None,
        scheduled: float,
        timeout: float | None,
        heartbeat: float | None,
    ) -> None:
        """Make the call, then wait for the token's answer, for heartbeats and for the time limit."""
        clock = self.services.clock
        self.services.tokens[token] = wait
        calling = None if call is None else asyncio.ensure_future(call)
        timer: asyncio.Future[None] | None = None
        try:
            while not wait.settled.done():
                beat_by = wait.last_heartbeat + heartbeat if heartbeat else None
                end_by = scheduled + timeout if timeout else None
                limits = [moment for moment in (beat_by, end_by) if moment is not None]
                if limits and min(limits) <= clock.now():
                    raise Overrun(
                        "States.Timeout" if end_by is not None and end_by <= clock.now() else "States.HeartbeatTimeout"
                    )
                timer = asyncio.ensure_future(clock.sleep(min(limits) - clock.now())) if limits else None
                pending = {future for future in (wait.settled, calling, timer) if future is not None}
                await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                if timer is not None:
                    await cancel_all([timer])
                if calling is not None and calling.done() and not wait.settled.done():
                    wait.settle("TaskSubmitted", {"output": calling.result()})
                    calling = None
            if calling is not None:
                # The answer came before the call returned (a gate that answers itself): let the worker finish its call.
                await asyncio.gather(calling, return_exceptions=True)
        finally:
            self.services.tokens.pop(token, None)
            await cancel_all([future for future in (calling, timer) if future is not None])
