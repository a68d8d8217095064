"""The options that every workload shares; a workload's own are a subclass. Unknown options are an error."""

from __future__ import annotations

import difflib
import json
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tilery.outcomes import BadInput

Lane = Literal["auto", "lambda", "fargate", "fargate-large", "gpu", "gpu-large"]


class Options(BaseModel):
    """Options of every workload."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    lane: Lane = Field("auto", description="Where the work runs; auto chooses by the size of the drop.")
    device: Literal["auto", "cpu", "gpu"] = Field("auto", description="auto uses a GPU when the worker has one.")
    tolerate: float = Field(
        0.0, ge=0, le=100, description="Percent of tiles that may be missing in a product, which is then marked PARTIAL."
    )
    pause: list[Literal["tile", "process", "merge", "finish"]] = Field(
        default_factory=list, description="Wait for `tilery resume` after these stages."
    )

    @model_validator(mode="before")
    @classmethod
    def _words_apart(cls, given: Any) -> Any:
        """A list of words may be written as one text with commas, as on a command line: `--set products=dtm,dsm`."""
        if not isinstance(given, dict):
            return given
        listed = [name for name, field in cls.model_fields.items() if _takes_words(field.annotation)]
        texts = {name: given[name] for name in listed if isinstance(given.get(name), str)}
        return {**given, **{name: _words(text) for name, text in texts.items()}}


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _takes_words(annotation: Any) -> bool:
    inner = get_args(annotation) if get_origin(annotation) is list else ()
    return bool(inner) and (inner[0] is str or get_origin(inner[0]) is Literal)


O = TypeVar("O", bound=Options)


def parse(kind: type[O], given: dict[str, Any], source: str) -> O:
    """Validate options; `source` names where they came from (a file, the command line) in the sentence of `BadInput`."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise BadInput(f"{source}: " + "; ".join(_sentence(kind, problem) for problem in error.errors())) from None


def _sentence(kind: type[Options], problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, kind.model_fields, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(sorted(kind.model_fields))}"
        return f"unknown option {name!r}: {hint}"
    if problem["type"] == "value_error":  # a sentence of ours
        said = str(problem["ctx"]["error"])
        return f"option {name!r}: {said}, got {problem['input']!r}" if name else said
    return f"option {name!r}: {problem['msg'].lower()}, got {problem['input']!r}"


def from_text(settings: list[str]) -> dict[str, Any]:
    """Options from `KEY=VALUE` texts; a value is JSON where it parses as JSON, else plain text.

    >>> from_text(["lane=fargate", "resolution_m=0.5", "pause=[]"])
    {'lane': 'fargate', 'resolution_m': 0.5, 'pause': []}
    """
    options: dict[str, Any] = {}
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not separator or not name:
            raise BadInput(f"--set {setting!r}: write KEY=VALUE, for example --set resolution_m=0.5")
        try:
            options[name.strip()] = json.loads(value)
        except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, or brackets beyond any sense
            options[name.strip()] = value
    return options
