"""The flags of `remora query`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from collectors.receivers.listeners import Address
from mesh.flags import Parser, add_log_level, add_supervision, host_port

_EXAMPLE = """\
example, for Grafana's Jaeger data source at http://127.0.0.1:16686:

  remora query --state ~/.local/state/remora

It answers with Jaeger's HTTP API from STATE/store/telemetry.sqlite, or from Elasticsearch with --elasticsearch, where
spans are in Jaeger's own indices. On an address that others reach it wants --token-file: clients then show
`Authorization: Bearer TOKEN`. Stop it with SIGTERM; it exits 0.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line said."""

    state: Path | None
    elasticsearch: tuple[str, ...]
    opensearch: bool
    index_prefix: str
    ca_file: Path | None
    api_key_file: Path | None
    username: str | None
    password_file: Path | None
    listen: Address
    token_file: Path | None
    allow_host: tuple[str, ...]
    ready_fd: int | None
    lifeline_fd: int | None
    log_level: str


def parse(argv: Sequence[str]) -> Options:
    """Raises SystemExit(2) with a message on standard error for wrong flags."""
    parser = Parser("remora query", "Answer questions about traces by Jaeger's HTTP API.", _EXAMPLE)
    source = parser.add_argument_group("where spans are: one of the first two")
    source.add_argument("--state", type=Path, default=None, metavar="DIR", help="state directory of the mesh")
    source.add_argument("--elasticsearch", action="append", default=[], metavar="URL",
                        help="a node of Elasticsearch with Jaeger's indices; again for further nodes")  # fmt: skip
    source.add_argument("--opensearch", action="store_true", help="those nodes are OpenSearch's")
    source.add_argument("--index-prefix", default="", metavar="TEXT",
                        help="of those indices, without the dash after it; as the exporter's")  # fmt: skip
    source.add_argument("--ca-file", type=Path, default=None, metavar="FILE",
                        help="authorities for Elasticsearch's certificate, PEM (default: the system's)")  # fmt: skip
    source.add_argument("--api-key-file", type=Path, default=None, metavar="FILE", help="mode 0640 or less")
    source.add_argument("--username", default=None, metavar="NAME", help="with --password-file, instead of an API key")
    source.add_argument("--password-file", type=Path, default=None, metavar="FILE", help="mode 0640 or less")
    serving = parser.add_argument_group("serving")
    serving.add_argument("--listen", type=_address, default="127.0.0.1:16686", metavar="HOST:PORT",
                         help="plain HTTP; port 0 means any (default: %(default)s)")  # fmt: skip
    serving.add_argument("--token-file", type=Path, default=None, metavar="FILE",
                         help="bearer token of clients; needed beyond loopback; mode 0640 or less")  # fmt: skip
    serving.add_argument("--allow-host", action="append", default=[], metavar="HOST[:PORT]",
                         help="a further name by which clients ask, as in their Host header")  # fmt: skip
    process = parser.add_argument_group("process")
    add_supervision(process, '{"url"}')
    add_log_level(process)
    parsed = parser.parse_args(argv)
    if parsed.state is None and not parsed.elasticsearch:
        parser.error("one of --state and --elasticsearch is required")
    if parsed.state is not None and parsed.elasticsearch:
        parser.error("--state or --elasticsearch, not both")
    if not parsed.listen.is_loopback and parsed.token_file is None:
        parser.error(f"argument --listen: {parsed.listen} is no loopback address; that wants --token-file")
    if (parsed.username is None) != (parsed.password_file is None):
        parser.error("--username and --password-file belong together")
    if parsed.username is not None and parsed.api_key_file is not None:
        parser.error("--api-key-file or --username, not both")
    if parsed.state is not None:
        for flag in ("ca_file", "api_key_file", "username", "opensearch"):
            if getattr(parsed, flag):
                parser.error(f"--{flag.replace('_', '-')} is for --elasticsearch")
    found = vars(parsed)
    for name in ("elasticsearch", "allow_host"):
        found[name] = tuple(found[name])
    return Options(**found)


def hosts(options: Options, address: Address) -> frozenset[str]:
    """What clients may have in Host, when serving at `address`; empty: anything, where a token protects."""
    if options.token_file is not None and not options.allow_host:
        return frozenset()
    names = {"localhost", "127.0.0.1", "[::1]", str(address).rpartition(":")[0]} | {
        name.lower() for name in options.allow_host
    }
    return frozenset(names | {f"{name}:{address.port}" for name in names})


def _address(text: str) -> Address:
    return Address(*host_port(text))
