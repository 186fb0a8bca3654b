"""Every request is found in the log store, once for each hop, whatever happens to the collector meanwhile."""

import asyncio
import json
import secrets
from collections import Counter

import pytest

from collectors.store.reader import Reader
from mesh.records import ACCESS_KEYS
from tests.integration.mesh import RunningMesh, until
from tests.integration.traffic import Client

pytestmark = pytest.mark.mesh

COUNT = 5000


def _found(mesh: RunningMesh, marker: str) -> Counter[tuple[str, str]]:
    """(workload, path) of the records whose path has `marker`."""
    reader = Reader.open(mesh.state / "store/telemetry.sqlite", time_limit_s=60)
    try:
        entries = reader.logs(text=marker, limit=4 * COUNT)
    finally:
        reader.close()
    return Counter((entry.workload, entry.body["path"]) for entry in entries)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("killed", [False, True], ids=["in quiet", "while the collector is killed and comes back"])
async def test_each_of_5000_requests_is_logged_once_per_hop(own_mesh: RunningMesh, killed: bool) -> None:
    mesh = own_mesh
    marker = f"m{secrets.token_hex(6)}"
    client = Client(mesh.outbound("productpage-v1"))
    numbers = iter(range(COUNT))

    async def sender() -> None:
        for number in numbers:
            await client.send(f"http://details:9080/details/0?run={marker}&n={number}", 1, at_once=1)

    async def killer() -> None:
        while client.outcome.total < COUNT // 3:
            await asyncio.sleep(0.01)
        mesh.kill(mesh.pids["collect"])

    tasks = [sender() for _ in range(16)]
    if killed:
        tasks.append(killer())
    await asyncio.gather(*tasks)
    assert client.outcome.statuses == {200: COUNT}, str(client.outcome)

    expected = {
        (workload, f"/details/0?run={marker}&n={number}")
        for workload in ("productpage-v1", "details-v1")
        for number in range(COUNT)
    }
    until(lambda: len(_found(mesh, marker)) >= len(expected), f"{len(expected)} records", within=60)
    found = _found(mesh, marker)
    assert set(found) == expected
    assert set(found.values()) == {1}, [each for each, count in found.items() if count > 1][:5]


def test_a_record_has_every_field_and_the_hops_share_ids(mesh: RunningMesh) -> None:
    marker = secrets.token_hex(8)
    mesh.get_as("productpage-v1", f"http://details:9080/details/0?run={marker}")

    def both() -> list[dict[str, object]]:
        found = json.loads(mesh.remora("logs", "--text", marker, "--since", "2m", "-o", "json"))
        return [entry["body"] for entry in found] if len(found) == 2 else []

    records = until(both, "the records of both hops")
    for record in records:
        assert set(ACCESS_KEYS) <= set(record)
        assert (record["method"], record["response_code"], record["response_flags"]) == ("GET", 200, "-")
    by_workload = {record["workload"]: record for record in records}
    assert set(by_workload) == {"productpage-v1", "details-v1"}
    assert len({record["request_id"] for record in records}) == 1
    assert len({record["trace_id"] for record in records}) == 1
    assert by_workload["details-v1"]["source_principal"] == "spiffe://cluster.local/ns/default/sa/bookinfo-productpage"


def test_control_characters_in_a_request_are_refused_or_escaped(mesh: RunningMesh) -> None:
    """ESC is no part of a field's value; the byte that some terminals take for ESC [ is, and is shown as text."""
    marker = secrets.token_hex(8)
    url = f"http://details:9080/details/0?run={marker}"
    assert mesh.get_as("productpage-v1", url, headers={"user-agent": b"a\x1b[31mred"}).status_code == 400
    assert mesh.get_as("productpage-v1", url, headers={"user-agent": b"a\x9b31mred"}).status_code == 200
    output = until(lambda: mesh.remora("logs", "--text", marker, "--since", "2m"), "the record")
    assert not any(0x7F <= ord(character) <= 0x9F or character == "\x1b" for character in output), ascii(output)
