"""How a piece of work can end badly, as classes that the state machines and exit codes act on.

A handler either returns a value or raises one of these. Step Functions sees the class name as the error name, a container
reports the exit code; nothing else about a failure needs to be understood by the orchestration.
"""

from typing import ClassVar


class Outcome(Exception):
    """A typed failure. `str(error)` is one plain sentence for the person who dropped the data."""

    exit_code: ClassVar[int] = 1


class BadInput(Outcome):
    """The input is wrong; running again cannot help. The sentence names the file, what is wrong and what to do."""

    exit_code = 2


class Transient(Outcome):
    """The same work may succeed when tried again (throttling, a lost connection, a full queue)."""

    exit_code = 75


class OutOfMemory(Outcome):
    """The work did not fit in memory of this lane; a larger lane may do it."""

    exit_code = 42


class Incomplete(Outcome):
    """Some items of a stage have no completion marker. The run can be redriven."""
