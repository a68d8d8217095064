"""STAC documents against the published schemas, without a network (tests/schemas)."""

import json
from pathlib import Path

import jsonschema
import pystac

SCHEMAS = Path(__file__).parent.parent / "schemas"


def validated(item: pystac.Item) -> pystac.Item:
    """The item, valid by the core's schema and by those of its extensions. Raises where it is not."""
    for uri in item.stac_extensions:
        name, version = uri.split("/")[-3:-1]
        schema = json.loads((SCHEMAS / f"{name}-{version}.json").read_text())
        assert schema["$id"].rstrip("#") == uri
        jsonschema.Draft7Validator(schema).validate(item.to_dict())
    extensions, item.stac_extensions = item.stac_extensions, []
    item.validate()
    item.stac_extensions = extensions
    return item
