"""`remora init-iptables`'s flags: parsed once, checked here, a frozen value from then on."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mesh.flags import Parser, whole
from remora.init import scalars
from remora.init.back_end import KINDS, Kind
from remora.init.plan import DNS_PORT, NEVER_INBOUND, SIDECAR_DNS_PORT, Capture

MAX_ID = 2**32 - 2
"""Of a user or group; one more means nobody."""
MAX_WAIT_S = 60
MAX_VALIDATE_S = 3600

ANNOTATIONS = {
    "include-inbound-ports": "traffic.sidecar.istio.io/includeInboundPorts",
    "exclude-inbound-ports": "traffic.sidecar.istio.io/excludeInboundPorts",
    "include-outbound-ports": "traffic.sidecar.istio.io/includeOutboundPorts",
    "exclude-outbound-ports": "traffic.sidecar.istio.io/excludeOutboundPorts",
    "include-outbound-ip-ranges": "traffic.sidecar.istio.io/includeOutboundIPRanges",
    "exclude-outbound-ip-ranges": "traffic.sidecar.istio.io/excludeOutboundIPRanges",
    "exclude-interfaces": "traffic.sidecar.istio.io/excludeInterfaces",
}
"""By flag: the annotation of a pod that the injector makes it of."""

_EPILOG = """\
PORTS is a list such as 80,443,8000-8010; RANGES one such as 10.0.0.0/8,fd00::/8. Exclusions go before inclusions.

examples:
  remora init-iptables                                    capture everything, as the injector has it
  remora init-iptables --exclude-outbound-ports 3306      but not MySQL
  remora init-iptables --dry-run                          print what would be given to iptables-restore
  remora init-iptables --remove                           take out what any version of this command has put

It needs the capability NET_ADMIN, and to be run in the pod's network namespace: as an init container it is. Only
--validate needs none: it waits for the node agent, which has it.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """Parsed and checked."""

    capture: Capture
    remove: bool = False
    dry_run: bool = False
    probe: bool = False
    validate_s: int | None = None
    """Change nothing: wait so long for somebody else's rules."""
    json: bool = False
    this_machine: bool = False
    """It is meant, though this is no pod's network."""
    back_end: Kind | None = None
    """None: the one that works."""
    wait_s: int = 5
    warnings: tuple[str, ...] = ()
    """What is asked for and has no effect."""


def parse(argv: Sequence[str]) -> Options:
    """Wrong use raises SystemExit(2) after a line for every value that is wrong; --help, SystemExit(0)."""
    parser = _parser()
    given = parser.parse_args(list(argv))
    annotated = _annotated(parser, given.annotated)
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for flag, (name, read) in _READERS.items():
        text = getattr(given, flag.replace("-", "_"))
        try:
            values[name] = read(text)
        except ValueError as error:
            source = f" (annotation {ANNOTATIONS[flag]})" if flag in annotated else ""
            wrong.append(f"--{flag}{source}: {error}")
    if wrong:
        parser.exit(2, "".join(f"{parser.prog}: {line}\n" for line in wrong))
    capture = Capture(**values)
    if sum((given.remove, given.dry_run, given.probe, given.validate is not None)) > 1:
        parser.error("--remove, --dry-run, --probe and --validate exclude each other")
    if given.output != "text" and not given.dry_run:
        parser.error("-o json is of the plan: add --dry-run")
    if mistake := _contradiction(capture):
        parser.error(mistake)
    return Options(
        capture,
        remove=given.remove,
        dry_run=given.dry_run,
        probe=given.probe,
        validate_s=given.validate,
        json=given.output == "json",
        this_machine=given.this_machine,
        back_end=given.back_end,
        wait_s=given.wait,
        warnings=tuple(_without_effect(capture)),
    )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "remora init-iptables",
        "Capture the traffic of this network namespace for the sidecar in it, by rules of iptables.",
        _EPILOG,
    )
    inbound = parser.add_argument_group("what comes in")
    inbound.add_argument(
        "--include-inbound-ports", default="*", metavar="PORTS", help='"*" (default) or PORTS; "": none'
    )
    inbound.add_argument("--exclude-inbound-ports", default="", metavar="PORTS", help="never captured")
    outbound = parser.add_argument_group("what the application sends")
    outbound.add_argument(
        "--include-outbound-ip-ranges", default="*", metavar="RANGES", help='"*" (default) or RANGES; "": none'
    )
    outbound.add_argument("--exclude-outbound-ip-ranges", default="", metavar="RANGES", help="never captured")
    outbound.add_argument(
        "--include-outbound-ports", default="", metavar="PORTS", help='captured for every address, too; "*": all'
    )
    outbound.add_argument("--exclude-outbound-ports", default="", metavar="PORTS", help="never captured")
    parser.add_argument(
        "--exclude-interfaces", default="", metavar="NAMES", help="nothing is captured that comes or goes by them"
    )
    _add_sidecar(parser.add_argument_group("the sidecar"))
    _add_run(parser.add_argument_group("this run"))
    return parser


def _add_sidecar(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--inbound-port", default="15006", metavar="PORT", help="takes what comes in (default: 15006)")
    group.add_argument("--outbound-port", default="15001", metavar="PORT", help="takes what is sent (default: 15001)")
    group.add_argument("--proxy-uid", default="1337", metavar="ID", help="its user, never captured (default: 1337)")
    group.add_argument("--proxy-gid", default="1337", metavar="ID", help="its group, never captured (default: 1337)")
    group.add_argument(
        "--dns-port",
        default="",
        metavar="PORT",
        help="have DNS asked at this port of loopback; the server there must be run by --proxy-uid (default: DNS is "
        "left alone)",
    )
    group.add_argument(
        "--capture-dns",
        dest="dns_port",
        action="store_const",
        const=str(SIDECAR_DNS_PORT),
        help=f"have DNS asked of the sidecar, which must have been told to answer it: --dns-port {SIDECAR_DNS_PORT}",
    )


def _add_run(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--remove", action="store_true", help="take the rules out; other flags of what to capture are moot"
    )
    group.add_argument("--dry-run", action="store_true", help="print the rules, change nothing")
    group.add_argument("--probe", action="store_true", help="then connect, and see that the sidecar would be reached")
    group.add_argument(
        "--validate",
        type=whole(1, MAX_VALIDATE_S),
        metavar="SECONDS",
        help="change nothing: wait until the node agent has put the rules; needs no capability",
    )
    group.add_argument(
        "--this-machine", action="store_true", help="yes, capture the connections of this machine, which is no pod"
    )
    group.add_argument("-o", "--output", choices=("text", "json"), default="text", help="of --dry-run")
    group.add_argument(
        "--back-end", choices=KINDS, help="kind of iptables (default: where rules are already, else the one that works)"
    )
    group.add_argument(
        "--wait",
        type=whole(1, MAX_WAIT_S),
        default=5,
        metavar="SECONDS",
        help="for the lock of iptables-legacy (default: 5)",
    )
    group.add_argument(
        "--annotated",
        default="",
        metavar="FLAGS",
        help="flags whose values are of the pod's annotations: errors say so",
    )


def _id(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_ID:
        raise ValueError(f"{text!r} is no number of a user or group that is not root's; write e.g. 1337")
    return int(text)


def _optional_port(text: str) -> int | None:
    return scalars.parse_port(text) if text else None


def _excluded_ranges(text: str) -> scalars.Ranges:
    return scalars.Ranges(networks=scalars.parse_ranges(text))


_READERS: dict[str, tuple[str, Callable[[str], object]]] = {
    "include-inbound-ports": ("inbound_ports", scalars.parse_captured_ports),
    "exclude-inbound-ports": ("exclude_inbound_ports", scalars.parse_ports),
    "include-outbound-ports": ("outbound_ports", scalars.parse_captured_ports),
    "exclude-outbound-ports": ("exclude_outbound_ports", scalars.parse_ports),
    "include-outbound-ip-ranges": ("outbound_ranges", scalars.parse_captured_ranges),
    "exclude-outbound-ip-ranges": ("exclude_outbound_ranges", _excluded_ranges),
    "exclude-interfaces": ("exclude_interfaces", scalars.parse_interfaces),
    "inbound-port": ("inbound_to", scalars.parse_port),
    "outbound-port": ("outbound_to", scalars.parse_port),
    "dns-port": ("dns_to", _optional_port),
    "proxy-uid": ("uid", _id),
    "proxy-gid": ("gid", _id),
}
"""By flag: the field of Capture, and what reads the text."""


def _annotated(parser: argparse.ArgumentParser, text: str) -> frozenset[str]:
    flags = frozenset(filter(None, (each.strip() for each in text.split(","))))
    for flag in sorted(flags - ANNOTATIONS.keys()):
        parser.error(f"--annotated: {flag!r} is none of {', '.join(ANNOTATIONS)}")
    return flags


def _contradiction(capture: Capture) -> str:
    places = {"--inbound-port": capture.inbound_to, "--outbound-port": capture.outbound_to}
    if capture.dns_to is not None:
        places["--dns-port"] = capture.dns_to
    for flag, port in places.items():
        if port in NEVER_INBOUND:
            return f"{flag}: {port} is the sidecar's for something else"
        if list(places.values()).count(port) > 1:
            return f"{' and '.join(places)} must differ; {port} is given twice"
        if port == DNS_PORT:
            return f"{flag}: {DNS_PORT} is what is captured; the server must listen at another"
    return ""


def _without_effect(capture: Capture) -> list[str]:
    """Ports of the sidecar's own, named one by one in a list, are not captured all the same."""
    named = [each for each in capture.inbound_ports if each != scalars.ALL_PORTS[0]]
    own = [port for port in NEVER_INBOUND if any(port in each for each in named)]
    if not own:
        return []
    ports = ", ".join(map(str, own))
    return [f"--include-inbound-ports: {ports} of them the sidecar serves itself; never captured"]
