"""Documents that are almost right: a valid one with a few of its bytes, or of its values, changed."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

PIECES = (
    *(
        b"",
        b"\x00",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\n",
        b"\r\n",
        b",",
        b",,",
        b'"',
        b"'",
        b"{",
        b"}",
        b"[",
        b"]",
        b"=",
    ),
    *(b"NaN", b"nan", b"Infinity", b"-1", b"0", b"1e999", b"9" * 400, b"true", b"null", b"../../etc/passwd", b"a:b"),
)
"""What is put into a document's bytes."""

junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", "nan", "os:system", "../x.json", "actor", "\x00", "9" * 400]),
    st.lists(st.integers(-2, 2), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(-2, 2), max_size=3),
)
"""A value where another was meant."""


@st.composite
def changed_bytes(draw: st.DrawFn, document: bytes) -> bytes:
    """`document` with up to four places cut out, replaced or doubled."""
    data = document
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 1, 1, 2, 8, 200])))
        piece = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=4), st.just(data[start:end] * 2)))
        data = data[:start] + piece + data[end:]
    return data


@st.composite
def changed_values(draw: st.DrawFn, document: Any) -> bytes:
    """The JSON of `document` with up to three of its values replaced, renamed or taken away."""
    made = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        spots = list(_spots(made))
        if not spots:
            break
        holder, key = spots[draw(st.integers(0, len(spots) - 1))]
        what = draw(st.sampled_from(["replace", "replace", "delete", "rename"]))
        if what == "replace" or isinstance(holder, list):
            holder[key] = draw(junk)
        else:
            value = holder.pop(key)
            if what == "rename":
                holder[draw(st.text(max_size=8))] = value
    return json.dumps(made).encode(errors="surrogatepass")


def _spots(document: Any) -> Any:
    """(holder, key) of every value inside lists and objects."""
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield document, key
        yield from _spots(value)
