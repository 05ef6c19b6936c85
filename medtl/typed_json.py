"""Dataclasses as JSON and back: every entry is checked against its type, nothing is evaluated."""

import functools
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import MappingProxyType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from .errors import ModelError


def decode(kind: Any, value: Any, where: str) -> Any:
    """The JSON value as a value of type `kind`: dataclass, tuple, mapping, optional or plain value. Nothing but int to
    float is converted.

    Raises: ModelError, which names the place, when the value does not fit.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, UnionType):
        return None if value is None else decode(next(a for a in arguments if a is not type(None)), value, where)
    if is_dataclass(kind) and isinstance(value, dict):
        hints = _types_of(kind)  # type: ignore[arg-type]
        if unknown := sorted(set(value) - set(hints)):
            raise ModelError(f"{where}: unknown entry {unknown[0]!r}; it may need a newer MedTL.")
        entries = {k: decode(hints[k], v, f"{where}: {k}") for k, v in value.items()}
        try:
            return kind(**entries)  # type: ignore[operator]
        except TypeError as error:
            needed = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
            raise ModelError(
                f"{where}: expected the entries {', '.join(needed)}, found {', '.join(entries) or 'none'}."
            ) from error
    if origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) == len(value):
            return tuple(decode(k, v, where) for k, v in zip(kinds, value, strict=True))
    elif origin is not None and issubclass(origin, Mapping) and isinstance(value, dict):
        return MappingProxyType({k: decode(arguments[1], v, f"{where}: {k}") for k, v in value.items()})
    elif kind is float and (type(value) is float or (type(value) is int and abs(value) < 2**1023)):
        return float(value)
    elif isinstance(kind, type) and type(value) is kind:
        return value
    raise ModelError(f"{where}: expected {getattr(kind, '__name__', kind)}, found {str(value)[:80]!r}.")


@functools.cache
def _types_of(kind: type) -> dict[str, Any]:
    """The type of each field of a dataclass."""
    return get_type_hints(kind)


# Metadata of a dataclass's field, for `encode`. OPTIONAL: the field is left out where it is None. SPREAD: the entries
# of this mapping or dataclass are put beside the other fields. {"key": "class"} gives the key where it cannot be the
# field's name.
OPTIONAL = MappingProxyType({"optional": True})
SPREAD = MappingProxyType({"spread": True})


def encode(value: Any) -> Any:
    """The value as JSON has it, entries in the order of the fields; the inverse of `decode` for dataclasses without
    metadata."""
    if is_dataclass(value) and not isinstance(value, type):
        record: dict[str, Any] = {}
        for f in fields(value):
            item = encode(getattr(value, f.name))
            if f.metadata.get("spread"):
                record |= item
            elif item is not None or not f.metadata.get("optional"):
                record[f.metadata.get("key", f.name)] = item
        return record
    if isinstance(value, Mapping):
        return {str(k): encode(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [encode(v) for v in value]
    return value
