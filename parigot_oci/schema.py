"""What a JSON Schema has against a value, said in English, each with the path of keys to it."""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from parigot_oci.yamlfile import Step

if TYPE_CHECKING:
    from jsonschema import ValidationError

KINDS = {
    "object": "a mapping (key: value)",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "empty",
}


@dataclass(frozen=True, kw_only=True)
class Complaint:
    path: tuple[Step, ...]
    what: str
    hint: str = ""


def load(folder: Path) -> dict[str, Any]:
    """The manifest's schema, from the folder `schemas`."""
    text = (folder / "manifest.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def complaints(schema: Mapping[str, Any], value: object) -> list[Complaint]:
    """All that is wrong with `value`, in no particular order, each said once."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - it takes a tenth of a second, and --help needs none

    errors: Iterable[ValidationError] = Draft202012Validator(schema).iter_errors(value)
    return list(dict.fromkeys(complaint for error in errors for complaint in _say(error)))


def _say(error: "ValidationError") -> Iterator[Complaint]:
    path: tuple[Step, ...] = tuple(error.absolute_path)
    if "propertyNames" in error.absolute_schema_path:
        yield Complaint(path=(*path, str(error.instance)), what=f"{error.instance!r} is not {_wanted(error)}")
        return
    wanted: Any = error.validator_value
    match error.validator:
        case "additionalProperties":
            yield from _unknown_keys(error, path)
        case "required":
            for key in wanted:
                if key not in cast(Mapping[str, Any], error.instance):
                    yield Complaint(path=path, what=f"{_name(path)} lacks the key {key!r}", hint=f"Add `{key}: ...`.")
        case "oneOf":
            keys = [alternative["required"][0] for alternative in wanted]
            yield Complaint(path=path, what=f"{_name(path)} needs exactly one of {', '.join(keys)}")
        case "dependentRequired":
            yield Complaint(path=path, what=f"{_name(path)}: `sources` goes with `command` only")
        case "const":
            what = f"{_name(path)} is {json.dumps(error.instance)}: this parigot-oci reads format 1"
            yield Complaint(path=path, what=what, hint="Write `parigot: 1`, or upgrade: pip install -U parigot-oci")
        case "uniqueItems":
            yield Complaint(path=path, what=f"{_name(path)} has something in it twice")
        case "minLength" | "minItems":
            yield Complaint(path=path, what=f"{_name(path)} is empty", hint="Give it a value, or leave the key out.")
        case _:
            what = f"{_name(path)}: {_shown(error.instance)} is not {_wanted(error)}"
            hint = "Give it a value, or leave the key out." if error.instance is None else ""
            yield Complaint(path=path, what=what, hint=hint)


def _unknown_keys(error: "ValidationError", path: tuple[Step, ...]) -> Iterator[Complaint]:
    schema: Any = error.schema
    known = list(schema["properties"])
    for key in cast(Mapping[str, Any], error.instance):
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(known)}."
            yield Complaint(path=(*path, key), what=f"unknown key {key!r} in {_name(path)}", hint=hint)


def _wanted(error: "ValidationError") -> str:
    """The schema's own words where a part of it has a title, else its types or values."""
    schema: Any = error.schema
    wanted: Any = error.validator_value
    if "title" in schema and error.absolute_schema_path[0] != "type":
        return str(schema["title"])
    if error.validator == "type":
        return " or ".join(KINDS[kind] for kind in ([wanted] if isinstance(wanted, str) else wanted))
    if error.validator == "enum":
        return "one of " + ", ".join(wanted)
    return f"what {error.validator} {wanted} asks for"


def _shown(value: object) -> str:
    if value is None:
        return "empty"
    if isinstance(value, dict | list):
        return KINDS["object" if isinstance(value, dict) else "array"]
    return json.dumps(value, ensure_ascii=False)


def _name(path: Sequence[Step]) -> str:
    """`services.store.args[0]`; the whole is `the manifest`."""
    name = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return name.lstrip(".") or "the manifest"
