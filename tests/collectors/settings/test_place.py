"""What is wrong with settings where they are to be used, told before anything starts: ports, the mesh, certificates,
paths."""

import json
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from collectors.settings.document import Invalid
from collectors.settings.load import load
from collectors.settings.surroundings import Surroundings
from tests.collectors.authority import COLLECTOR, Mint
from tests.collectors.settings.test_load import OUT, ROUTE

OURS = f"127.{os.getpid() % 200 + 20}.7.19"
"""A loopback address whose ports no other test takes, nor a connection that goes out."""


def judged(
    directory: Path,
    text: str,
    *,
    in_mesh: bool = False,
    flags: tuple[tuple[str, str, int], ...] = (),
    now: datetime | None = None,
    ports_are_free: bool = False,
) -> list[str]:
    path = directory / "c.yaml"
    path.write_text(text)
    around = Surroundings(in_mesh, directory / "state", now or datetime.now(UTC), flags, ports_are_free)
    try:
        found = load(path, around).warnings
    except Invalid as error:
        found = error.violations
    return [str(one).removeprefix(f"{path}:") for one in found]


def listening(*listeners: str) -> str:
    lines = "".join(f"      - {{{one}}}\n" for one in listeners)
    return f"receivers:\n  forward:\n    listeners:\n{lines}{OUT}{ROUTE}"


AT = "receivers.forward.listeners"


# Ports.


@pytest.fixture
def port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.parametrize(
    ("first", "second", "collide"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("localhost", "127.0.0.1", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "[::]", True),
        ("[::]", "0.0.0.0", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("[::1]", "0.0.0.0", False),
    ],
)
def test_a_port_that_is_taken_twice(tmp_path: Path, port: int, first: str, second: str, collide: bool) -> None:
    found = judged(
        tmp_path,
        listening(
            f'address: "{first}:{port}", allow_plaintext: true', f'address: "{second}:{port}", allow_plaintext: true'
        ),
        ports_are_free=True,
    )
    if not collide:
        assert found == []
        return
    (said,) = found
    assert said.startswith(f"5: {AT}[1].address: is {second}:{port}, and {AT}[0].address has this port too")
    assert said.endswith("; choose another port")


def test_any_port_collides_with_none(tmp_path: Path) -> None:
    assert judged(tmp_path, listening('address: "127.0.0.1:0"', 'address: "127.0.0.1:0"')) == []


def test_a_port_of_the_flags(tmp_path: Path, port: int) -> None:
    found = judged(tmp_path, listening(f'address: "127.0.0.1:{port}"'), flags=(("--health", "127.0.0.1", port),))
    assert found == [f"4: {AT}[0].address: is 127.0.0.1:{port}, and --health has this port too; choose another port"]


def test_a_port_that_is_in_use(tmp_path: Path) -> None:
    with socket.create_server((OURS, 0)) as sock:
        port = sock.getsockname()[1]
        (said,) = judged(tmp_path, listening(f'address: "{OURS}:{port}"'))
        assert said.startswith(f"4: {AT}[0].address: is {OURS}:{port}, which is in use")
        assert f"ss -lntup 'sport = :{port}'" in said
        # By the collector that these settings are for: it has to end before its successor starts.
        (tmp_path / "state").mkdir()
        running = {"forward.0": f"{OURS}:{port}", "pid": os.getpid()}
        (tmp_path / "state" / "collector.json").write_text(json.dumps(running))
        assert judged(tmp_path, listening(f'address: "{OURS}:{port}"')) == []
    assert judged(tmp_path, listening(f'address: "{OURS}:{port}"')) == [], "nothing stays bound"


def test_a_heartbeat_s_port_is_udp_s_too(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((OURS, 0))
        port = sock.getsockname()[1]
        assert judged(tmp_path, listening(f'address: "{OURS}:{port}"')) == []
        (said,) = judged(tmp_path, listening(f'address: "{OURS}:{port}", udp_heartbeat: true'))
        assert "which is in use" in said


def test_an_address_that_is_not_this_machine_s(tmp_path: Path) -> None:
    (said,) = judged(tmp_path, listening('address: "192.0.2.1:4000", allow_plaintext: true'))
    assert said == (
        f"4: {AT}[0].address: is 192.0.2.1:4000, and this machine has no such address; write one that it has, or "
        "0.0.0.0 for all"
    )


# The mesh.


def test_the_mesh_s_certificate_outside_of_a_mesh(tmp_path: Path) -> None:
    text = listening('address: "127.0.0.1:0", tls: mesh')
    (said,) = judged(tmp_path, text)
    assert said.startswith(f"4: {AT}[0].tls: is mesh, and this collector is of no mesh; write certificate_file")
    assert judged(tmp_path, text, in_mesh=True) == []


# Certificates.


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pem")
    mint = Mint()
    for name in ("one", "two"):
        credentials = mint.credentials(COLLECTOR, uris=(), dns=(f"{name}.example",))
        (directory / f"{name}.pem").write_bytes(credentials.chain_pem)
        (directory / f"{name}.key").write_bytes(credentials.key_pem)
        (directory / "ca.pem").write_bytes(credentials.roots_pem)
    (directory / "junk").write_text("nothing of the kind\n")
    (directory / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (directory / "broken.key").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    encrypted = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    (directory / "encrypted.key").write_bytes(encrypted)
    for key in (*directory.glob("*.key"), directory / "junk", directory / "one.pem"):
        key.chmod(0o600)
    return directory


def tls(pem: Path, certificate: str, key: str, more: str = "") -> str:
    files = f"certificate_file: {pem}/{certificate}, key_file: {pem}/{key}{more}"
    return listening(f'address: "127.0.0.1:0", tls: {{{files}}}')


@pytest.mark.parametrize(
    ("certificate", "key", "more", "said"),
    [
        ("one.pem", "one.key", "", []),
        ("one.pem", "two.key", "", ["key_file: is not the key of the certificate in "]),
        ("junk", "one.key", "", ["certificate_file: has no certificate in it: "]),
        ("one.key", "one.key", "", ["certificate_file: has a private key in it: "]),
        ("broken.pem", "one.key", "", ["certificate_file: has a damaged certificate in it: "]),
        ("one.pem", "junk", "", ["key_file: has no private key in it: "]),
        ("one.pem", "one.pem", "", ["key_file: has a certificate in it: "]),
        ("one.pem", "broken.key", "", ["key_file: has a damaged private key in it: "]),
        ("one.pem", "encrypted.key", "", ["key_file: has a key with a passphrase: "]),
        ("junk", "junk", ", client_ca_file: PEM/junk",
         ["certificate_file: has no certificate", "key_file: has no private", "client_ca_file: has no certificate"]),
        ("one.pem", "one.key", ", client_ca_file: PEM/ca.pem", []),
    ],
)  # fmt: skip
def test_pem_files(tmp_path: Path, pem: Path, certificate: str, key: str, more: str, said: list[str]) -> None:
    found = judged(tmp_path, tls(pem, certificate, key, more.replace("PEM", str(pem))))
    assert len(found) == len(said), found
    for one, expected in zip(found, said, strict=True):
        assert one.startswith(f"4: {AT}[0].tls.{expected}")
        assert "AAAA" not in one, "what is in a key is not told"


def test_pem_files_of_exporters_and_scrapes(tmp_path: Path, pem: Path) -> None:
    text = f"""\
receivers:
  scrape:
    jobs: [{{name: a, static: ["h:1"], scheme: https, ca_file: {pem}/junk}}]
exporters:
  out:
    type: otlp
    url: https://127.0.0.1:4317
    ca_file: {pem}/junk
    cert_file: {pem}/one.pem
    key_file: {pem}/two.key
{ROUTE.replace("{exporters", "{match: {signals: [traces]}, exporters")}"""
    found = judged(tmp_path, text)
    assert [one.split(": ")[:2] for one in found] == [
        ["3", "receivers.scrape.jobs[0].ca_file"],
        ["8", "exporters.out.ca_file"],
        ["10", "exporters.out.key_file"],
    ]


def test_a_certificate_that_ended_is_warned_of(tmp_path: Path, pem: Path) -> None:
    later = datetime.now(UTC) + timedelta(days=365 * 100)
    (said,) = judged(tmp_path, tls(pem, "one.pem", "one.key"), now=later)
    assert said.startswith(f"4: {AT}[0].tls.certificate_file: warning: ended at ")


# Paths.


def exporting(*exporters: str, receivers: str = "") -> str:
    lines = "".join(f"  e{number}: {{{one}}}\n" for number, one in enumerate(exporters))
    names = ", ".join(f"e{number}" for number in range(len(exporters)))
    return f"exporters:\n{lines}routes: [{{exporters: [{names}]}}]\n{receivers}"


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("type: file, path: a", "type: file, path: ./b/../a",
         "3: exporters.e1.path: writes {}/b/../a, and so does exporters.e0.path; choose another path"),
        ("type: file, path: a", "type: file, path: a.2",
         "3: exporters.e1.path: writes {}/a.2, and so does exporters.e0.path; choose another path"),
        ("type: blackhole, buffer: {{directory: d}}", "type: blackhole, buffer: {{directory: d}}",
         "3: exporters.e1.buffer.directory: has its buffer in {}/d, and so does exporters.e0.buffer.directory; choose "
         "another path"),
        ("type: blackhole", "type: blackhole, buffer: {{directory: state/buffers/e0}}",
         "3: exporters.e1.buffer.directory: has its buffer in {}/state/buffers/e0, and so does exporters.e0; choose "
         "another path"),
        ("type: blackhole, buffer: {{directory: d}}",
         "type: blackhole, buffer: {{overflow: spill, spill: {{directory: d}}}}",
         "3: exporters.e1.buffer.spill.directory: spills to {}/d, and so does exporters.e0.buffer.directory; choose "
         "another path"),
        ("type: blackhole", "type: file, path: c.yaml",
         "3: exporters.e1.path: writes {}/c.yaml, which is the file of these settings; choose another path"),
        ("type: file, path: a", "type: file, path: b", None),
    ],
)  # fmt: skip
def test_what_two_would_write(tmp_path: Path, first: str, second: str, said: str | None) -> None:
    text = exporting(first.replace("{{", "{").replace("}}", "}"), second.replace("{{", "{").replace("}}", "}"))
    assert judged(tmp_path, text) == ([] if said is None else [said.format(tmp_path)])


def test_a_file_that_is_read_is_not_written(tmp_path: Path) -> None:
    receivers = "receivers: {tail: {include: [/var/none], metadata_file: pods.json}}\n"
    (said,) = judged(tmp_path, exporting("type: file, path: pods.json", receivers=receivers))
    assert "which is the file of receivers.tail.metadata_file" in said


@pytest.mark.parametrize(
    ("include", "exclude", "again"),
    [
        ("{}/logs/*", "", True),
        ("{}/**/*.ndjson", "", True),
        ("{}/**", "", True),
        ("{}/*", "", False),
        ("{}/logs/*", "{}/logs/out*", False),
        ("{}/logs/[a-n]*", "", False),
    ],
)
def test_output_is_not_read_again(tmp_path: Path, include: str, exclude: str, again: bool) -> None:
    patterns = f"include: ['{include.format(tmp_path)}'], exclude: ['{exclude.format(tmp_path) or '/-'}']"
    receivers = f"receivers: {{tail: {{{patterns}}}}}"
    found = judged(tmp_path, exporting("type: file, path: logs/out.ndjson", receivers=receivers))
    assert ["every record would make another" in one for one in found] == [True] * again
    assert all(one.startswith("2: exporters.e0.path: ") for one in found)


def test_a_pattern_twice(tmp_path: Path) -> None:
    receivers = "receivers:\n  tail:\n    include:\n    - /a\n    - /b\n    - /a\n"
    assert judged(tmp_path, exporting("type: blackhole", receivers=receivers)) == [
        "9: receivers.tail.include[2]: names /a a second time"
    ]
