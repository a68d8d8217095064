"""Fill the `${Name}` places of a state machine definition, as CDK's definition substitutions do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from twin.faults import InvalidDefinition

_PLACE = re.compile(r"\$\{([A-Za-z][A-Za-z0-9_]*)\}")


def render(definition: str, substitutions: Mapping[str, str]) -> str:
    """Return the definition with every `${Name}` replaced. Every place sits inside a JSON string, so values are escaped.

    Raises InvalidDefinition for a place without a value and for a value without a place.
    """
    names = set(_PLACE.findall(definition))
    if missing := sorted(names - substitutions.keys()):
        raise InvalidDefinition(f"The definition uses {', '.join(missing)}, but no such substitution was given.")
    if unused := sorted(substitutions.keys() - names):
        raise InvalidDefinition(f"The substitutions {', '.join(unused)} are not used in the definition.")
    return _PLACE.sub(lambda place: json.dumps(substitutions[place[1]])[1:-1], definition)
