"""How one picture can fail, as a code for programs and a sentence for people."""

from __future__ import annotations

from typing import Literal

Code = Literal[
    "empty",
    "bad_name",
    "not_a_picture",
    "unsupported",
    "damaged",
    "too_large",
    "operation",
    "encode",
    "timeout",
    "crashed",
    "missing",
]


class Refused(Exception):
    """A picture that cannot become a result; the rest of the batch goes on."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code: Code = code
