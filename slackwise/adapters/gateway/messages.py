"""Protocol Buffers messages from tables of their fields: what is sent and read of a public interface, and no more.

Fields that a table leaves out are skipped when read, as Protocol Buffers prescribe. Names of messages do not travel,
only numbers and kinds of fields do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slackwise.optional import require

PACKAGE = "slackwise"
SCALARS = {"double": 1, "int64": 3, "int32": 5, "bool": 8, "string": 9, "bytes": 12}
"""Kinds as FieldDescriptorProto.Type numbers them; an enum travels as int32."""

MESSAGE, OPTIONAL, REPEATED = 11, 1, 3

Table = Mapping[str, Mapping[str, tuple[int, str]]]
"""Message -> field -> (number, kind). A kind is a scalar, a message of the table, `* kind` (repeated), or `map kind`
from strings; `name | kind` puts the field into the oneof `name`."""


def message_classes(name: str, table: Table) -> dict[str, Any]:
    """Message -> its class, in a pool of their own, so that they never clash with generated ones."""
    pb = require("google.protobuf.descriptor_pb2", "gateway")
    pool = require("google.protobuf.descriptor_pool", "gateway").DescriptorPool()
    factory = require("google.protobuf.message_factory", "gateway")
    file = pb.FileDescriptorProto(name=f"{name}.proto", package=f"{PACKAGE}.{name}", syntax="proto3")
    for message, described in table.items():
        made = file.message_type.add(name=message)
        for field, (number, kind) in described.items():
            _add(made, f".{file.package}", field, number, kind)
    pool.Add(file)
    return {each: factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{each}")) for each in table}


def _add(message: Any, package: str, name: str, number: int, kind: str) -> None:
    field = message.field.add(name=name, number=number, label=OPTIONAL)
    if " | " in kind:
        oneof, kind = kind.split(" | ")
        names = [each.name for each in message.oneof_decl]
        if oneof not in names:
            message.oneof_decl.add(name=oneof)
            names.append(oneof)
        field.oneof_index = names.index(oneof)
    shape, _, element = kind.rpartition(" ")
    if shape:
        field.label = REPEATED
    if shape == "map":
        entry = message.nested_type.add(name=f"{name[0].upper()}{name[1:]}Entry")
        entry.options.map_entry = True
        _add(entry, package, "key", 1, "string")
        _add(entry, package, "value", 2, element)
        field.type, field.type_name = MESSAGE, f"{package}.{message.name}.{entry.name}"
    elif element in SCALARS:
        field.type = SCALARS[element]
    else:
        field.type, field.type_name = MESSAGE, f"{package}.{element}"
