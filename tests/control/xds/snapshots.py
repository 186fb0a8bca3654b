"""Small snapshots: resources whose bytes say which edition they are."""

from collections.abc import Mapping

from google.protobuf.any_pb2 import Any as AnyMessage

from control.generate.types import Snapshot, snapshot
from control.xds.messages import CDS, EDS, LDS, RDS, SDS

_URLS = {"CDS": CDS, "EDS": EDS, "LDS": LDS, "RDS": RDS, "SDS": SDS}


def made_of(**types: Mapping[str, str] | str) -> Snapshot:
    """`made_of(CDS="a b", RDS={"outbound": "v2"})`: names, or names with an edition.

    EDS follows CDS unless given, ROOTCA is always there."""
    resources: dict[str, dict[str, AnyMessage]] = {}
    types.setdefault("EDS", types.get("CDS", ""))
    types.setdefault("SDS", "ROOTCA")
    for short, wanted in types.items():
        named = dict.fromkeys(wanted.split(), "v1") if isinstance(wanted, str) else dict(wanted)
        resources[_URLS[short]] = {
            name: AnyMessage(type_url=_URLS[short], value=f"{name} {edition}".encode())
            for name, edition in named.items()
        }
    return snapshot(resources)
