"""The control plane's own certificate: renewed while serving, TLS 1.3 for the command, several roots while rotating."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

from cryptography import x509

from control.ca.rotate import Step
from control.ca.template import DEFAULT_LIFETIMES
from mesh.lifecycle import TaskScope
from tests.control.app.control_process import create_certificate
from tests.control.ca.requests import ec_key
from tests.control.served import Served, served

DAY_S = 24 * 3600


async def served_serial(plane: Served, where: str) -> int:
    """Of the certificate that a new connection is shown."""
    host, _, port = plane.ready[where].rpartition(":")
    pem = await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


async def test_new_connections_see_a_renewed_certificate(plane_served: Served) -> None:
    first = await served_serial(plane_served, "csr")
    assert await served_serial(plane_served, "csr") == first
    plane_served.clock.ahead_s = 13 * 3600
    assert await served_serial(plane_served, "csr") != first


def test_the_commands_port_speaks_tls_1_3_only(plane_served: Served) -> None:
    assert plane_served.plane.serving.ssl_context().minimum_version is ssl.TLSVersion.TLSv1_3


async def test_certificates_of_both_roots_work_through_a_rotation(tmp_path: Path) -> None:
    """TLS goes by the machine's clock, so the mesh is made seven years ago and the rotation ends today."""
    async with served(tmp_path / "state", ahead_s=-0.7 * DEFAULT_LIFETIMES.root_s) as plane:
        authority = plane.plane.stored.authority
        record, _ = plane.register("reviews-v1")
        before = plane.plane.publisher.version
        plane.clock.ahead_s = -3 * DAY_S
        assert authority.rotate() is Step.INTRODUCE
        assert plane.plane.publisher.version != before, "new roots are to be pushed"
        assert plane.root_pem().count(b"BEGIN CERTIFICATE") == 2
        plane.clock.ahead_s = 0
        by_the_old = plane.credentials_of(record)
        assert authority.rotate() is Step.PROMOTE
        by_the_new = plane.credentials_of(record)
        assert by_the_old.chain.split(b"-----END")[1] != by_the_new.chain.split(b"-----END")[1]
        for credentials in (by_the_old, by_the_new):
            async with plane.channel("ads", credentials) as channel:
                renewed = await create_certificate(channel, ec_key(), None)
            leaf, root = x509.load_pem_x509_certificates(renewed.chain)
            leaf.verify_directly_issued_by(root)
            assert root == authority.roots.signer.certificate


async def test_it_is_renewed_at_half_its_life_though_nobody_asks(
    plane_served: Served, eventually: Callable[..., Awaitable[None]]
) -> None:
    serving = plane_served.plane.serving
    context = serving.ssl_context()

    def shown() -> int:
        return x509.load_pem_x509_certificates(handshake(context))[0].serial_number

    before = shown()
    async with TaskScope() as scope:
        scope.spawn(serving.keep(every_s=0.01), name="own certificate")
        plane_served.clock.ahead_s += DEFAULT_LIFETIMES.leaf_s * 0.4
        await asyncio.sleep(0.05)
        assert shown() == before
        plane_served.clock.ahead_s += DEFAULT_LIFETIMES.leaf_s * 0.2
        await eventually(lambda: shown() != before, "another certificate is shown")


def handshake(server: ssl.SSLContext) -> bytes:
    """The certificate that a client of `server` is shown, PEM, whatever the time is."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server, server_hostname="remora-control.remora-system.svc")
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    while True:
        with contextlib.suppress(ssl.SSLWantReadError):
            answering.do_handshake()
        try:
            asking.do_handshake()
            break
        except ssl.SSLWantReadError:
            continue
    shown = asking.getpeercert(binary_form=True)
    assert shown is not None
    return ssl.DER_cert_to_PEM_cert(shown).encode()
