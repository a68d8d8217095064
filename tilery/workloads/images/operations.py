"""The vocabulary of picture operations: what a person may write, checked before any picture is opened.

An operation is written `[NAME, ARGUMENT]`. The argument is `true` (defaults), a short text or number, or an object of named
parameters; all three are the same operation, and `canonical` writes the last. Light to import: no picture library.
"""

from __future__ import annotations

import difflib
import re
from typing import Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

MAX_OPERATIONS = 64
MAX_SIDE = 65_500
"""Pixels: what JPEG can store."""
LONGEST_TEXT = 60
"""Letters of a short form."""
Format = Literal["jpg", "png", "webp", "tiff", "avif"]


class Operation(BaseModel):
    """One step; its output is the input of the next one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClassVar[str]
    short: ClassVar[str] = ""
    """Regular expression of the short text, for the schema and the error."""
    example: ClassVar[str] = "true"
    bare: ClassVar[bool] = True
    """Whether `true` means something: the defaults."""
    number: ClassVar[str] = ""
    """The parameter that a mere number is."""

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_numbers(cls, given: dict[str, Any]) -> dict[str, Any]:
        for name, field in cls.model_fields.items():
            kinds = {field.annotation, *get_args(field.annotation)}
            if kinds & {int, float} and isinstance(given.get(name), str | bool):
                raise ValueError(f"{name} is a number, not {given[name]!r}")
        return given

    @classmethod
    def read(cls, text: str) -> dict[str, Any]:
        """Named parameters of a short text that matches `short`."""
        raise ValueError("takes no text")


class Resize(Operation):
    """Change the size: to a box, to one side (the other follows), or by percent."""

    name = "resize"
    short = r"^([0-9]+x[0-9]*|x[0-9]+|[0-9]+|[0-9]+(\.[0-9]+)?%)( (exact|fit|fill))?$"
    example = '"200x300", "200x", "x300", "50%", "200x300 fit"'
    number = "width"
    bare = False

    width: int | None = Field(None, ge=1, le=MAX_SIDE, description="Pixels.")
    height: int | None = Field(None, ge=1, le=MAX_SIDE, description="Pixels.")
    percent: float | None = Field(None, gt=0, le=1000, description="Percent of both sides.")
    mode: Literal["exact", "fit", "fill"] = Field(
        "exact", description="exact: this width and height; fit: largest inside them; fill: cover them, cut the rest evenly."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Resize:
        if (self.percent is None) == (self.width is None and self.height is None):
            raise ValueError("give width and height, one of them, or percent")
        return self

    @classmethod
    def read(cls, text: str) -> dict[str, Any]:
        size, _, mode = text.partition(" ")
        given: dict[str, Any] = {"mode": mode} if mode else {}
        if size.endswith("%"):
            return {**given, "percent": float(size[:-1])}
        width, _, height = size.partition("x")
        return {**given, **({"width": int(width)} if width else {}), **({"height": int(height)} if height else {})}


class Split(Operation):
    """Cut into pieces, row by row; every later step applies to every piece."""

    name = "split"
    short = r"^([0-9]+x[0-9]+|tile [0-9]+(x[0-9]+)?)$"
    example = 'true (2x2), "3x2" (columns x rows), "tile 256", "tile 256x128"'

    columns: int = Field(2, ge=1, le=256)
    rows: int = Field(2, ge=1, le=256)
    tile_width: int | None = Field(None, ge=1, le=MAX_SIDE, description="Pixels; instead of columns. The last is narrower.")
    tile_height: int | None = Field(None, ge=1, le=MAX_SIDE, description="Pixels; instead of rows. The last is lower.")

    @classmethod
    def read(cls, text: str) -> dict[str, Any]:
        kind, _, size = text.rpartition(" ")
        across, _, down = size.partition("x")
        names = ("tile_width", "tile_height") if kind else ("columns", "rows")
        return dict(zip(names, (int(across), int(down or across)), strict=True))


class Blur(Operation):
    """Blur: gaussian (radius is the standard deviation), box or median (a window of 2 radius + 1)."""

    name = "blur"
    short = r"^(gaussian|box|median)( [0-9]+(\.[0-9]+)?)?$"
    example = '"gaussian", "box 3", "median 2", 1.5'
    number = "radius"

    kind: Literal["gaussian", "box", "median"] = "gaussian"
    radius: float = Field(2.0, gt=0, le=100, description="Pixels; a whole number for box and median, at most 10 for median.")

    @model_validator(mode="after")
    def _window(self) -> Blur:
        if self.kind != "gaussian" and self.radius != int(self.radius):
            raise ValueError(f"the radius of {self.kind} must be a whole number, not {self.radius:g}")
        if self.kind == "median" and self.radius > 10:
            raise ValueError(f"the radius of median is at most 10, not {self.radius:g}")
        return self

    @classmethod
    def read(cls, text: str) -> dict[str, Any]:
        kind, _, radius = text.partition(" ")
        return {"kind": kind, **({"radius": float(radius)} if radius else {})}


class Crop(Operation):
    """Keep a rectangle: at an offset from the upper left corner, or around the centre."""

    name = "crop"
    short = r"^[0-9]+x[0-9]+(\+[0-9]+\+[0-9]+)?$"
    example = '"100x80" (centre), "100x80+10+20" (left, top)'
    bare = False

    width: int = Field(ge=1, le=MAX_SIDE)
    height: int = Field(ge=1, le=MAX_SIDE)
    left: int | None = Field(None, ge=0, description="Pixels from the left; the centre without it.")
    top: int | None = Field(None, ge=0, description="Pixels from the top; the centre without it.")

    @classmethod
    def read(cls, text: str) -> dict[str, Any]:
        size, *offset = text.split("+")
        width, height = size.split("x")
        given = {"width": int(width), "height": int(height)}
        return {**given, **dict(zip(("left", "top"), map(int, offset), strict=False))}


class Rotate(Operation):
    """Turn clockwise. The picture grows to hold the corners, which are transparent, or `background` without an alpha."""

    name = "rotate"
    short = r"^-?[0-9]+(\.[0-9]+)?$"
    example = '90, -12.5, {"degrees": 30, "background": "#000000"}'
    number = "degrees"
    bare = False

    degrees: float = Field(ge=-360, le=360)
    background: str = Field("#ffffff", pattern="^#[0-9a-fA-F]{6}$")

    @classmethod
    def read(cls, text: str) -> dict[str, Any]:
        return {"degrees": float(text)}


class Flip(Operation):
    """Mirror: horizontal swaps left and right, vertical top and bottom."""

    name = "flip"
    short = r"^(horizontal|vertical)$"
    example = '"horizontal", "vertical"'

    direction: Literal["horizontal", "vertical"] = "horizontal"

    @classmethod
    def read(cls, text: str) -> dict[str, Any]:
        return {"direction": text}


class Grayscale(Operation):
    """Shades of grey; an alpha channel is kept."""

    name = "grayscale"


class Sharpen(Operation):
    """Unsharp mask: add `amount` times the difference to a gaussian blur of `radius`."""

    name = "sharpen"
    short = r"^[0-9]+(\.[0-9]+)?$"
    example = 'true, 1.5, {"amount": 1, "radius": 2}'
    number = "amount"

    amount: float = Field(1.0, gt=0, le=10)
    radius: float = Field(1.0, gt=0, le=50, description="Pixels.")

    @classmethod
    def read(cls, text: str) -> dict[str, Any]:
        return {"amount": float(text)}


class Contrast(Operation):
    """Multiply the distance of every value from middle grey."""

    name = "contrast"
    short = r"^[0-9]+(\.[0-9]+)?$"
    example = "1.3"
    number = "factor"

    factor: float = Field(1.2, ge=0, le=10)

    @classmethod
    def read(cls, text: str) -> dict[str, Any]:
        return {"factor": float(text)}


class Normalise(Operation):
    """Stretch brightness to the full range, one scale for all colours; `clip` percent at both ends are cut off."""

    name = "normalise"
    short = r"^[0-9]+(\.[0-9]+)?$"
    example = "true, 1"
    number = "clip"

    clip: float = Field(0.5, ge=0, lt=50, description="Percent.")

    @classmethod
    def read(cls, text: str) -> dict[str, Any]:
        return {"clip": float(text)}


class Convert(Operation):
    """Change the kind of picture: its colours, its depth, its alpha; or the output format, as the option `output` does."""

    name = "convert"
    short = r"^(rgb|gray|8bit|16bit|opaque|jpg|png|webp|tiff|avif)$"
    example = '"rgb", "gray", "8bit", "16bit", "opaque", "png"'
    bare = False

    to: Literal["rgb", "gray", "8bit", "16bit", "opaque", "jpg", "png", "webp", "tiff", "avif"]

    @classmethod
    def read(cls, text: str) -> dict[str, Any]:
        return {"to": text}


KINDS: dict[str, type[Operation]] = {
    kind.name: kind for kind in (Resize, Split, Blur, Crop, Rotate, Flip, Grayscale, Sharpen, Contrast, Normalise, Convert)
}
ALIASES = {"normalize": "normalise", "greyscale": "grayscale", "gray": "grayscale", "grey": "grayscale"}


def parse(given: Any) -> list[Operation]:
    """Operations as they were written. Raises `ValueError` with a sentence that names the operation and the reason.

    >>> parse([["resize", "200x"], ["split", True]])[0]
    Resize(width=200, height=None, percent=None, mode='exact')
    """
    if not isinstance(given, list):
        raise ValueError('operations must be a list such as [["resize", "200x300"], ["split", true]]')
    if len(given) > MAX_OPERATIONS:
        raise ValueError(f"there are {len(given)} operations; at most {MAX_OPERATIONS} are allowed")
    return [_one(number, entry) for number, entry in enumerate(given, 1)]


def canonical(operations: list[Operation]) -> list[list[Any]]:
    """The one way to write them: `[NAME, {parameters}]`; what was not said is left out."""
    return [[operation.name, operation.model_dump(mode="json", exclude_defaults=True) or True] for operation in operations]


def output_format(operations: list[Operation], output: Format) -> Format:
    """The format that pieces are written in: the last `convert` to one, else the option."""
    formats = [kind.to for kind in operations if isinstance(kind, Convert) and kind.to in get_args(Format)]
    return formats[-1] if formats else output  # type: ignore[return-value]


def _one(number: int, entry: Any) -> Operation:
    match entry:
        case str() | [str()]:
            name, argument = entry if isinstance(entry, str) else entry[0], True
        case [str() as name, argument]:
            pass
        case _:
            raise ValueError(f'operation {number}: write [NAME, ARGUMENT], for example ["blur", "gaussian"], not {entry!r}')
    kind = KINDS.get(ALIASES.get(name, name))
    if kind is None:
        near = difflib.get_close_matches(name, [*KINDS, *ALIASES], n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the operations are {', '.join(KINDS)}"
        raise ValueError(f"operation {number} ({name}): there is no such operation; {hint}")
    try:
        return kind.model_validate(_named(kind, argument))
    except ValidationError as error:
        raise ValueError(f"operation {number} ({name}): " + "; ".join(map(_problem, error.errors()))) from None
    except ValueError as error:
        raise ValueError(f"operation {number} ({name}): {error}") from None


def _named(kind: type[Operation], argument: Any) -> dict[str, Any]:
    if isinstance(argument, dict):
        return argument
    if argument is True and kind.bare:
        return {}
    if kind.number and isinstance(argument, int | float) and not isinstance(argument, bool):
        return {kind.number: argument}
    short = isinstance(argument, str) and len(argument) <= LONGEST_TEXT
    if not (kind.short and short and re.fullmatch(kind.short, argument)):
        raise ValueError(f"{repr(argument)[:LONGEST_TEXT]} is not understood; write {_forms(kind)}")
    return kind.read(argument)


def _forms(kind: type[Operation]) -> str:
    fields = ", ".join(kind.model_fields)
    return f"{kind.example}" + (f", or an object of {fields}" if fields else "")


def _problem(problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    said = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"there is no parameter {name!r}"
    if problem["type"] == "missing":
        return f"the parameter {name!r} is missing"
    return f"{name}: {said[0].lower()}{said[1:]}, not {problem['input']!r}" if name else said


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the list of operations."""
    return {"type": "array", "maxItems": MAX_OPERATIONS, "items": {"anyOf": [_schema_of(kind) for kind in KINDS.values()]}}


def _schema_of(kind: type[Operation]) -> dict[str, Any]:
    names = [kind.name, *(alias for alias, name in ALIASES.items() if name == kind.name)]
    forms: list[dict[str, Any]] = [{"const": True}] if kind.bare else []
    if kind.short:
        text = {"type": "string", "pattern": kind.short, "maxLength": LONGEST_TEXT}
        forms.append({**text, "description": f"For example {kind.example}."})
    named = kind.model_json_schema()
    if kind.number:
        number = named["properties"][kind.number]
        forms.append({key: value for key, value in number.get("anyOf", [number])[0].items() if key not in ("title", "default")})
    forms.append(named)
    pair = {
        "type": "array",
        "title": kind.name,
        "description": " ".join((kind.__doc__ or "").split()),
        "prefixItems": [{"enum": names}, {"anyOf": forms}],
        "minItems": 1 if kind.bare else 2,
        "maxItems": 2,
    }
    return {"anyOf": [pair, {"enum": names}]} if kind.bare else pair
