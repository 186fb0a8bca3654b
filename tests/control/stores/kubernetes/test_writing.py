"""Rules that are written through us only if they are still what somebody has read, which the API server ensures."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pytest

from control.api import Key, Resource
from control.stores.errors import ChangedMeanwhile
from control.stores.stored import ABSENT
from tests.control.stores.kubernetes.conftest import Follow, Followed
from tests.control.stores.kubernetes.test_store import ADDRESS, BAD, BETTER, GOOD, WEB, document, virtual_service
from tests.kubernetes.api_server import FakeApiServer
from tests.kubernetes.objects import Object

Eventually = Callable[..., Awaitable[None]]
OURS = {**GOOD, "gateways": ["mesh"]}


async def write(made: Followed, resources: list[Resource], deleted: list[Key], expected: Mapping[Key, str]) -> None:
    await asyncio.to_thread(made.store.change, resources, deleted, expected)


async def written_while(
    server: FakeApiServer, made: Followed, meanwhile: Object, etag: str, eventually: Eventually, *, verb: str = "patch"
) -> None:
    """What was read as `etag` is written, or deleted; before the API server gets to that, there is `meanwhile`."""
    hold = server.faults.hold(lambda asked: asked.verb == verb)
    resources, deleted = ([document(OURS)], []) if verb == "patch" else ([], [WEB])
    writing = asyncio.create_task(write(made, resources, deleted, {WEB: etag}))
    await eventually(lambda: hold.waiting, "the write is under way")
    server.seed(meanwhile)
    hold.release()
    await writing


async def test_what_was_read_and_is_still_so_is_changed_and_deleted(server: FakeApiServer, follow: Follow) -> None:
    server.seed(virtual_service(GOOD))
    async with follow() as made:
        await write(made, [document(OURS)], [], {WEB: made.store.stored()[WEB].etag})
        assert server.get(*ADDRESS)["spec"] == OURS
        await write(made, [], [WEB], {WEB: made.store.stored()[WEB].etag})
        assert not made.store.stored()


@pytest.mark.parametrize("verb", ["patch", "delete"])
async def test_a_status_that_is_written_meanwhile_is_nobodys_change(
    server: FakeApiServer, follow: Follow, eventually: Eventually, verb: str
) -> None:
    server.seed(virtual_service(GOOD))
    async with follow(leads=False) as made:
        etag = made.store.stored()[WEB].etag
        meanwhile = {**virtual_service(GOOD), "status": {"observedGeneration": 1}}
        await written_while(server, made, meanwhile, etag, eventually, verb=verb)
        if verb == "patch":
            assert server.get(*ADDRESS)["spec"] == OURS
        else:
            assert WEB not in made.store.stored()


@pytest.mark.parametrize("verb", ["patch", "delete"])
async def test_what_somebody_changes_meanwhile_stays_theirs(
    server: FakeApiServer, follow: Follow, eventually: Eventually, verb: str
) -> None:
    server.seed(virtual_service(GOOD))
    async with follow(leads=False) as made:
        etag = made.store.stored()[WEB].etag
        with pytest.raises(ChangedMeanwhile, match="web: somebody has changed it meanwhile"):
            await written_while(server, made, virtual_service(BETTER), etag, eventually, verb=verb)
        assert server.get(*ADDRESS)["spec"] == BETTER
        # And what was changed before is known without asking.
        with pytest.raises(ChangedMeanwhile):
            await write(made, [document(OURS)], [], {WEB: etag})


async def test_what_somebody_makes_or_deletes_meanwhile_is_told(
    server: FakeApiServer, follow: Follow, eventually: Eventually
) -> None:
    async with follow(leads=False) as made:
        with pytest.raises(ChangedMeanwhile, match="somebody has made one of that name meanwhile"):
            await written_while(server, made, virtual_service(BETTER), ABSENT, eventually)
        assert server.get(*ADDRESS)["spec"] == BETTER
        etag = made.store.stored()[WEB].etag
        await write(made, [], [WEB], {})
        with pytest.raises(ChangedMeanwhile, match="somebody has deleted it meanwhile"):
            await write(made, [document(OURS)], [], {WEB: etag})
        await write(made, [document(OURS)], [], {WEB: ABSENT})
        assert server.get(*ADDRESS)["spec"] == OURS


async def test_a_rule_that_is_wrong_is_stored_as_it_is_with_what_is_wrong_and_can_be_mended_and_deleted(
    server: FakeApiServer, follow: Follow, eventually: Eventually
) -> None:
    server.seed(virtual_service(GOOD))
    async with follow(leads=False) as made:
        server.seed(virtual_service(BAD))
        await eventually(lambda: "much" in made.store.stored()[WEB].text, "it is seen")
        found = made.store.stored()[WEB]
        assert [(each.type, each.status, each.reason) for each in found.verdicts] == [("Accepted", "False", "Invalid")]
        assert "spec.http[0].route[0].weight" in found.verdicts[0].message
        assert made.world.resources[WEB].document["spec"] == GOOD, "which goes on"
        # As it was before: the store must not take it for what is there.
        await write(made, [document(GOOD)], [], {WEB: found.etag})
        assert server.get(*ADDRESS)["spec"] == GOOD
        server.seed({**virtual_service(BAD), "metadata": {"name": "other", "namespace": "default"}})
        other = Key("VirtualService", "default", "other")
        await eventually(lambda: other in made.store.stored(), "the other is seen")
        await write(made, [], [other], {other: made.store.stored()[other].etag})
        assert other not in made.store.stored()
