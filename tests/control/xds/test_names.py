"""Lists of names that come again and again: recognised by their bytes, and never taken for another list."""

import gc

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from control.xds.names import NamePool, RequestReader

MANY = [f"outbound|80||service-{number}.default.svc.cluster.local" for number in range(40)]


def request(names: list[str], nonce: str = "n", **fields: str) -> bytes:
    message = DiscoveryRequest(version_info="v", type_url="t", response_nonce=nonce, resource_names=names, **fields)
    message.node.id = "sidecar~1.2.3.4~a.b~c"
    return message.SerializeToString()


def test_the_same_list_is_the_same_object_for_all_streams_and_requests() -> None:
    pool = NamePool()
    one, other = RequestReader(pool), RequestReader(pool)
    _, first = one.read(request(MANY))
    message, again = one.read(request(MANY, nonce="another"))
    assert again is first
    assert message.response_nonce == "another"
    assert message.node.id == "sidecar~1.2.3.4~a.b~c"
    assert not message.resource_names, "it was not read again"
    assert other.read(request(MANY))[1] is first
    assert other.read(request([*reversed(MANY)]))[1] is first


@pytest.mark.parametrize(
    "others",
    [
        pytest.param([*MANY, "one more"], id="one more"),
        pytest.param(MANY[:-1], id="one less"),
        pytest.param([*MANY[:-1], "another"], id="another one"),
        pytest.param([], id="none"),
    ],
)
def test_a_list_that_begins_alike_is_another(others: list[str]) -> None:
    reader = RequestReader(NamePool())
    reader.read(request(MANY))
    assert reader.read(request(others))[1] == frozenset(others)
    assert reader.read(request(MANY))[1] == frozenset(MANY)


def test_names_after_other_fields_are_not_overlooked() -> None:
    reader = RequestReader(NamePool())
    reader.read(request(MANY))
    more = request(MANY) + DiscoveryRequest(resource_names=["late"]).SerializeToString()
    assert reader.read(more)[1] == frozenset([*MANY, "late"])


def test_what_nobody_asks_for_any_more_is_forgotten() -> None:
    pool = NamePool()
    reader = RequestReader(pool)
    reader.read(request(MANY))
    del reader
    gc.collect()
    assert not pool._names
    assert not pool._lists


@given(st.lists(st.one_of(st.binary(max_size=60), st.builds(request, st.lists(st.sampled_from(MANY), max_size=30)))))
def test_whatever_comes_is_read_as_protobuf_reads_it(datas: list[bytes]) -> None:
    reader = RequestReader(NamePool())
    reader.read(request(MANY))
    for data in datas:
        try:
            expected = DiscoveryRequest.FromString(data)
        except DecodeError:
            with pytest.raises(DecodeError):
                reader.read(data)
            continue
        message, names = reader.read(data)
        assert names == frozenset(expected.resource_names)
        del message.resource_names[:], expected.resource_names[:]
        assert message == expected
