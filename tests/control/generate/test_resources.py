"""Resources that share what they stand on say of themselves what they would say if they were put together anew."""

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from hypothesis import given
from hypothesis import strategies as st

from control.generate.entries import Entry
from control.generate.resources import Resources

TYPE = "type.googleapis.com/x.Y"
NAMES = st.sampled_from("abcdefg")
ENTRIES = st.dictionaries(NAMES, st.sampled_from([b"one", b"two", b"three"]))


def entries(values: dict[str, bytes]) -> dict[str, Entry]:
    return {name: Entry(name, TYPE, value) for name, value in values.items()}


@st.composite
def layered(draw: st.DrawFn) -> Resources:
    """Up to three layers, names of one perhaps hidden by another."""
    made = None
    for values in draw(st.lists(ENTRIES, min_size=1, max_size=3)):
        made = Resources(entries(values), made, shared=draw(st.booleans()))
    assert made is not None
    return made


def content(resources: Resources) -> dict[str, bytes]:
    return {name: message.value for name, message in resources.items()}


def flat(resources: Resources) -> Resources:
    return Resources(entries(content(resources)))


def sent(resources: Resources) -> list[bytes]:
    return sorted(each.value for each in DiscoveryResponse.FromString(resources.wire()).resources)


@given(layered())
def test_layers_make_no_difference(made: Resources) -> None:
    alone = flat(made)
    assert made.version == alone.version
    assert made == alone
    assert [*made] == sorted(alone)
    assert len(made) == len(alone)
    assert sent(made) == sorted(content(made).values())
    assert sent(made) == sent(made), "what is kept is the same"
    assert [each.value for each in made.entries()] == [*content(alone).values()]


@given(layered(), layered())
def test_equal_versions_are_equal_content(one: Resources, other: Resources) -> None:
    assert (one.version == other.version) == (content(one) == content(other))
    changed = {name for name in {*one, *other} if content(one).get(name) != content(other).get(name)}
    assert one.changed_since(other) == changed
    assert other.changed_since(one) == changed


@given(layered(), layered())
def test_what_only_the_past_has_is_kept_under_the_present(new: Resources, old: Resources) -> None:
    assert content(new.over(old)) == {**content(old), **content(new)}
    assert new.over(old) is new.over(old), "it is shared"


@given(layered(), layered())
def test_what_goes_on_top_wins(top: Resources, base: Resources) -> None:
    assert content(top.upon(base)) == {**content(base), **{name: each.value for name, each in top.own.items()}}


@given(layered(), st.frozensets(NAMES))
def test_names_choose(made: Resources, names: frozenset[str]) -> None:
    chosen = {name: value for name, value in content(made).items() if name in names}
    assert made.version_of(names) == Resources(entries(chosen)).version
    assert made.covered_by(names) == (chosen == content(made))
    assert made.select(names).names == sorted(chosen)
    assert made.lacks(names) == names - made.keys()


@given(layered(), layered())
def test_the_same_again_is_what_it_was(made: Resources, before: Resources) -> None:
    kept = made.kept(before)
    assert content(kept) == content(made)
    assert (kept is before) == (content(made) == content(before))


def test_bytes_are_protobufs_own() -> None:
    made = Resources(entries({"a": b"x" * 300, "b": b"y" * 20_000}))
    response = DiscoveryResponse(resources=[made["a"], made["b"]])
    assert made.wire() == response.SerializeToString()
