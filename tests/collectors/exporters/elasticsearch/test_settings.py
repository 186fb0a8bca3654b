"""What the settings refuse, with which words, at which line; and TLS as they say it."""

import ssl
from pathlib import Path
from typing import Any

import pytest

from collectors.exporters.elasticsearch.settings import Settings
from collectors.exporters.sink import Unavailable
from collectors.records import Batch
from collectors.settings.document import Invalid
from collectors.settings.load import load
from tests.collectors.authority import Mint
from tests.collectors.build import log
from tests.collectors.exporters.elasticsearch.backend import Backend
from tests.collectors.exporters.elasticsearch.sinks import Sinks

URL = "urls: [http://127.0.0.1:9200]\n"
KEY = "api_key_file: secret\n"

HEAD = """\
receivers:
  forward: {listeners: [{address: 127.0.0.1:0}]}
routes:
- {match: {signals: [logs, metrics]}, exporters: [back]}
exporters:
  back:
    type: elasticsearch
"""


def loaded(directory: Path, text: str) -> Settings:
    secret = directory / "secret"
    secret.write_text("c2VjcmV0")
    secret.chmod(0o600)
    (directory / "open").write_text("c2VjcmV0")
    (directory / "open").chmod(0o644)
    file = directory / "collect.yaml"
    file.write_text(HEAD + "".join(f"    {line}\n" for line in text.splitlines()))
    settings: Settings = load(file).exporters["back"].settings
    return settings


def test_an_address_is_all_that_is_needed(tmp_path: Path) -> None:
    settings = loaded(tmp_path, URL)
    assert settings.urls == ("http://127.0.0.1:9200",)
    assert (settings.retention.type, settings.setup, settings.compression) == ("ilm", True, "gzip")


@pytest.mark.parametrize(
    ("text", "line", "path", "why"),
    [
        ("namespace: x\n", 6, "urls", "is required; add it"),
        ("urls: []\n", 8, "urls", ""),
        (f"{URL}namespace: kube-system\n", 9, "namespace", "write a-z, 0-9, _ and . only"),
        (f"{URL}index: logs\n", 9, "index", "is unknown"),
        (f"{URL}api_key: abc\n", 9, "api_key", "write api_key_file: PATH"),
        (f"{URL}api_key_file: missing\n", 9, "api_key_file", "cannot be read"),
        (f"{URL}api_key_file: open\n", 9, "api_key_file", "is refused"),
        (f"{URL}{KEY}username: a\npassword_file: secret\n", 6, "", "has an API key and other credentials"),
        ("urls: [http://es.example.com:9200]\n" + KEY, 6, "", "would send credentials to es.example.com without TLS"),
        ("urls: ['http://me:pw@127.0.0.1:9200']\n", 8, "urls[0]", "has a user or password in it"),
        ("urls: [http://127.0.0.1:1, https://127.0.0.1:2]\n", 6, "", "has http and https in urls"),
        (f"{URL}ca_file: open\n", 6, "", "has files for TLS and urls without it"),
        (f"{URL}retention: {{type: data_stream, rollover_age: 1d}}\n", 9, "retention", "only type ilm knows"),
        (f"{URL}retention: {{type: none, delete_after: 1d}}\n", 9, "retention", "type none deletes nothing"),
        (f"{URL}engine: solr\n", 9, "engine", ""),
        (f"{URL}engine: opensearch\n", 6, "", "write `retention: {type: none}`"),
        (
            f"{URL}engine: opensearch\nretention: {{type: data_stream}}\n",
            6,
            "",
            "of type data_stream, which OpenSearch",
        ),
        (f"{URL}max_bulk_bytes: 1GiB\n", 9, "max_bulk_bytes", "64"),
    ],
)
def test_a_mistake_is_said_with_its_line_and_what_would_be_right(
    tmp_path: Path, text: str, line: int, path: str, why: str
) -> None:
    with pytest.raises(Invalid) as raised:
        loaded(tmp_path, text)
    (violation,) = raised.value.violations
    assert violation.line == line
    assert violation.path == "exporters.back" + (f".{path}" if path else "")
    assert why in violation.message
    assert "c2VjcmV0" not in str(violation)


def test_traces_are_not_routed_here(tmp_path: Path) -> None:
    file = tmp_path / "collect.yaml"
    file.write_text(HEAD.replace("[logs, metrics]", "[traces]") + f"    {URL}")
    with pytest.raises(Invalid, match="back"):
        load(file)


async def test_certificates_are_checked_and_ours_is_shown(tmp_path: Path) -> None:
    mint, stranger = Mint(), Mint("stranger")

    def file(name: str, content: bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content)
        path.chmod(0o600)
        return str(path)

    server, ours = mint.credentials(uris=(), dns=("localhost",)), mint.credentials()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file("server.pem", server.chain_pem), file("server.key", server.key_pem))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=server.roots_pem.decode())
    shown = {"cert_file": file("ours.pem", ours.chain_pem), "key_file": file("ours.key", ours.key_pem)}
    batch = Batch(logs=[log("a/1", "x")])
    outcomes: dict[str, Any] = {}
    async with Backend(tls=context) as backend:
        url = backend.url.replace("127.0.0.1", "localhost")
        for name, authority, files in (("right", mint, shown), ("wrong", stranger, shown), ("none", mint, {})):
            roots = file(f"{name}.pem", authority.credentials().roots_pem)
            async with Sinks().open(url, ca_file=roots, timeout="5s", **files) as sink:
                try:
                    outcomes[name] = len((await sink.send(batch)).again)
                except Unavailable as error:
                    outcomes[name] = str(error)
    assert outcomes["right"] == 0
    assert "certificate verify failed" in outcomes["wrong"]
    assert isinstance(outcomes["none"], str), "without a certificate of ours nothing is taken"
    assert len(backend.sent("/_bulk")) == 1
