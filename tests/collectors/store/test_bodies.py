"""Bodies come back as they were stored."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.store.bodies import ACCESS_SHAPE, BodyEncoder, decode_body
from mesh.records import ACCESS_KEYS, ACCESS_TAG

_VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(codec="utf-8"))
_ACCESS = dict.fromkeys(ACCESS_KEYS) | {"id": "node/epoch/1", "method": "GET", "response_code": 200}


@given(st.sampled_from([ACCESS_TAG, "app.log"]), st.dictionaries(st.sampled_from([*ACCESS_KEYS, "x", "y"]), _VALUES))
def test_any_body_comes_back(tag: str, body: dict[str, Any]) -> None:
    assert decode_body(BodyEncoder().encode(tag, body)) == body


@given(st.dictionaries(st.text(max_size=5), _VALUES), st.fixed_dictionaries(dict.fromkeys(ACCESS_KEYS, _VALUES)))
def test_an_access_record_comes_back_with_what_else_it_has(more: dict[str, Any], fields: dict[str, Any]) -> None:
    body = more | fields
    assert decode_body(BodyEncoder().encode(ACCESS_TAG, body)) == body


def test_an_access_record_is_stored_without_the_names_of_its_fields() -> None:
    packed = BodyEncoder().encode(ACCESS_TAG, _ACCESS)
    assert len(packed) < 80
    assert list(decode_body(packed)) == list(ACCESS_KEYS)


def test_arrays_of_the_first_shape_stay_readable() -> None:
    """What is on people's disks: a change of the record's keys is another shape."""
    values = list(range(32))
    body = decode_body(msgpack.packb([1, values, {"grpc_status": 0}]))
    assert body["id"] == 0
    assert body["attempts"] == 31
    assert body["grpc_status"] == 0
    assert ACCESS_SHAPE == 1


@pytest.mark.parametrize("blob", [msgpack.packb(3), msgpack.packb("text"), msgpack.packb(None)])
def test_what_is_no_body_is_empty(blob: bytes) -> None:
    assert decode_body(blob) == {}


def test_a_map_of_before_is_read() -> None:
    assert decode_body(msgpack.packb(_ACCESS)) == _ACCESS
