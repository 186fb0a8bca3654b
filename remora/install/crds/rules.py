"""What models say of several fields together, in CEL: the API server refuses it with these words before a webhook is
asked.

Each rule stands for a validator of control/api/kinds; tests/manifests/test_schema_refusals.py has the cases, and names
those that no rule can say. The cost of a rule is what it costs for the largest object that the bounds allow, so every
list that a rule goes through has one.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from control.api.kinds import (
    destination_rule,
    gateway,
    headers,
    http_action,
    http_match,
    peer_authentication,
    python_filter,
    request_addon,
    service_entry,
    string_match,
    tcp_route,
    virtual_service,
)
from control.api.protocols import any_case

MAX_KEYS = 64
"""Of a mapping whose keys a rule looks at."""

Rule = dict[str, Any]


def quoted(text: str) -> str:
    """A literal of CEL."""
    return json.dumps(text, ensure_ascii=True)


def _rule(rule: str, message: str) -> Rule:
    return {"rule": rule, "message": message}


def _exactly_one(*names: str, what: str | None = None) -> Rule:
    present = " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in names)
    return _rule(f"{present} == 1", what or f"write exactly one of {', '.join(names[:-1])} and {names[-1]}")


def _at_most_one(*names: str, message: str) -> Rule:
    return _rule(" + ".join(f"(has(self.{name}) ? 1 : 0)" for name in names) + " <= 1", message)


def _filled(name: str) -> str:
    return f"(has(self.{name}) && size(self.{name}) > 0)"


def _weights(name: str = "route") -> Rule:
    return _rule(
        f"!has(self.{name}) || size(self.{name}) < 2 ||"
        f" self.{name}.map(each, has(each.weight) ? each.weight : 0).sum() == 100",
        "the weights must add up to 100",
    )


_EXPORT = _rule(
    "!has(self.exportTo) || size(self.exportTo) == 0 || (size(self.exportTo) == 1 && self.exportTo[0] == '*')",
    "exportTo: Remora supports only ['*'], everywhere, so far",
)
_PREFIX = _rule("!has(self.prefix) || self.prefix != ''", "an empty prefix matches everything; leave the match out")
_OWNED = "[" + ", ".join(f"'{name}'" for name in headers.OWNED) + "]"
_SOME_ROUTED = " || ".join(
    [f"has(self.{name})" for name in ("rewrite", "timeout", "retries", "mirror")] + [_filled("mirrors")]
)

_RULES: Mapping[type[BaseModel], tuple[Rule, ...]] = {
    destination_rule.DestinationRuleSpec: (
        _rule(
            "!self.host.startsWith('*')",
            "host: wildcards are not supported by Remora yet: write one rule a service",
        ),
        _EXPORT,
    ),
    destination_rule.ClientTls: (
        _rule(
            "self.mode != 'MUTUAL'", "mode MUTUAL is not supported by Remora yet; within the mesh write ISTIO_MUTUAL"
        ),
        _rule(
            "self.mode == 'SIMPLE' || ((!has(self.sni) || self.sni == '') && "
            "(!has(self.subjectAltNames) || size(self.subjectAltNames) == 0))",
            "sni and subjectAltNames are for mode SIMPLE alone; remove them",
        ),
    ),
    destination_rule.OutlierDetection: (
        _rule(
            "!has(self.consecutiveLocalOriginFailures) ||"
            " (has(self.splitExternalLocalOriginErrors) && self.splitExternalLocalOriginErrors)",
            "consecutiveLocalOriginFailures counts only with splitExternalLocalOriginErrors: true; write that too",
        ),
        _rule(
            "!has(self.maxEjectionPercent) || self.maxEjectionPercent != 0",
            "maxEjectionPercent: 0 is what Istio takes for its default, 10; write 1 to 100, or remove it",
        ),
    ),
    destination_rule.RegionFailover: (
        _rule("self.from != self.to", "goes from a region to itself; write another region"),
    ),
    destination_rule.TrafficPolicy: (
        _rule(
            "!has(self.portLevelSettings) || self.portLevelSettings.all(each, "
            "self.portLevelSettings.exists_one(other, other.port.number == each.port.number))",
            "portLevelSettings has a port twice; write one entry a port",
        ),
    ),
    gateway.ServerTls: (
        _rule(
            "(has(self.mode) && self.mode != 'PASSTHROUGH') || !(has(self.serverCertificate) || has(self.privateKey) ||"
            " has(self.caCertificates) || has(self.credentialName))",
            "names files or a Secret, but with PASSTHROUGH the application itself ends TLS; remove them",
        ),
        _rule(
            "!has(self.credentialName) ||"
            " !(has(self.serverCertificate) || has(self.privateKey) || has(self.caCertificates))",
            "has both credentialName and files; write one of the two",
        ),
        _rule(
            "!has(self.mode) || self.mode == 'PASSTHROUGH' || has(self.credentialName) ||"
            " (has(self.serverCertificate) && has(self.privateKey))",
            "SIMPLE and MUTUAL need serverCertificate and privateKey, both files' paths, or credentialName",
        ),
        _rule(
            "!has(self.mode) || self.mode == 'PASSTHROUGH' || has(self.credentialName) ||"
            " (self.mode == 'MUTUAL') == has(self.caCertificates)",
            "caCertificates is for MUTUAL and for nothing else: it is what clients are checked against",
        ),
    ),
    gateway.Server: (
        _rule(
            f"self.port.protocol.matches('^({any_case('HTTPS')}|{any_case('TLS')})$') == has(self.tls)",
            "tls is for the protocols HTTPS and TLS, and they need it, such as {mode: PASSTHROUGH}",
        ),
    ),
    headers.HeaderOperations: tuple(
        _rule(
            f"!has(self.{name}) || !self.{name}.exists(key, key.lowerAscii() in {_OWNED})",
            f"{name} names a header that belongs to the connection and cannot be edited; for the host there is"
            " rewrite.authority",
        )
        for name in ("set", "add")
    ),
    http_action.Redirect: (
        _rule(
            "(has(self.uri) && self.uri != '') || (has(self.authority) && self.authority != '') || has(self.port) ||"
            " has(self.scheme)",
            "redirects to the same place; write uri, authority, scheme or port",
        ),
    ),
    http_action.ResponseBody: (_exactly_one("string", "bytes"),),
    http_action.Rewrite: (
        _at_most_one("uri", "uriRegexRewrite", message="has both uri and uriRegexRewrite; write one"),
        _rule(
            "has(self.uri) || has(self.authority) || has(self.uriRegexRewrite)",
            "changes nothing; write uri, authority or uriRegexRewrite",
        ),
    ),
    http_action.Fault: (_rule("has(self.delay) || has(self.abort)", "injects nothing; write delay or abort"),),
    http_match.HttpMatch: tuple(
        _rule(
            f"!has(self.{name}) || !self.{name}.exists(key, key.lowerAscii() in ['host', 'uri'])",
            f"{name}: for the host use the field authority, for the path uri",
        )
        for name in ("headers", "withoutHeaders")
    ),
    string_match.StringMatch: (_exactly_one("exact", "prefix", "regex"), _PREFIX),
    string_match.HeaderMatch: (
        _at_most_one(
            "exact", "prefix", "regex", message="write one of exact, prefix and regex, or {} for the header's presence"
        ),
        _PREFIX,
    ),
    tcp_route.TcpRoute: (_weights(),),
    tcp_route.TlsRoute: (_weights(),),
    virtual_service.HttpRoute: (
        _weights(),
        _rule(
            f"({_filled('route')} ? 1 : 0) + (has(self.redirect) ? 1 : 0) + (has(self.directResponse) ? 1 : 0) == 1",
            "write exactly one of route, redirect and directResponse",
        ),
        _rule(
            f"{_filled('route')} || !({_SOME_ROUTED})",
            "rewrite, timeout, retries, mirror and mirrors need a route",
        ),
        _rule(f"!has(self.mirror) || !{_filled('mirrors')}", "has both mirror and mirrors; write mirrors alone"),
        _rule(
            "!has(self.mirrorPercentage) || has(self.mirror)",
            "mirrorPercentage without mirror; write mirror, or a percentage in mirrors",
        ),
    ),
    virtual_service.VirtualServiceSpec: (
        _rule(
            f"{_filled('http')} || {_filled('tls')} || {_filled('tcp')}",
            "has none of http, tls and tcp; write at least one route",
        ),
        _rule(
            f"!('*' in self.hosts) || ({_filled('gateways')} && !('mesh' in self.gateways))",
            "has the host '*' for the mesh itself; name the hosts, or name a gateway in gateways",
        ),
        _EXPORT,
    ),
    service_entry.EntryEndpoint: (
        _rule("!self.address.startsWith('unix:')", "address: Unix sockets are not supported by Remora yet"),
    ),
    service_entry.ServiceEntrySpec: (
        _rule(
            "!self.hosts.exists(each, each.startsWith('*'))",
            "hosts: wildcards are not supported by Remora yet: name each host",
        ),
        _rule(
            f"size(self.hosts) * size(self.ports) <= {service_entry.MAX_CLUSTERS}",
            f"has too many ports of hosts in all; at most {service_entry.MAX_CLUSTERS:,} are allowed: split it by host",
        ),
        _rule(
            "!has(self.endpoints) || size(self.hosts) * size(self.ports) * size(self.endpoints)"
            f" <= {service_entry.MAX_INSTANCES}",
            f"has too many endpoints for its ports of hosts; at most {service_entry.MAX_INSTANCES:,} in all are "
            "allowed: split it by host",
        ),
        _rule(
            "self.ports.all(each, self.ports.exists_one(other, other.number == each.number))",
            "ports have a number twice",
        ),
        _rule(
            f"(has(self.resolution) && self.resolution != 'NONE') || !{_filled('endpoints')}",
            "has endpoints but resolution NONE; write resolution STATIC for addresses, DNS for names",
        ),
        _rule(
            f"!has(self.resolution) || self.resolution != 'STATIC' || {_filled('endpoints')}",
            "has resolution STATIC but no endpoints; write at least one, or resolution DNS",
        ),
        _rule(
            "!has(self.location) || self.location != 'MESH_INTERNAL' ||"
            " (has(self.resolution) && self.resolution != 'NONE')",
            "is MESH_INTERNAL without endpoints; write resolution STATIC and endpoints",
        ),
        _rule(
            "!has(self.resolution) || self.resolution != 'STATIC' || !has(self.endpoints) || self.endpoints.all(each, "
            "each.address.matches('^([0-9]{1,3}([.][0-9]{1,3}){3}|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)$'))",
            "endpoints: resolution STATIC needs IP addresses",
        ),
        _rule(
            "!has(self.endpoints) || self.endpoints.all(each, !has(each.ports) || each.ports.all(name, "
            "self.ports.exists(port, port.name == name)))",
            "endpoints: ports names a port that the entry does not have",
        ),
        _EXPORT,
    ),
    peer_authentication.PeerAuthenticationSpec: (
        _rule(
            "!has(self.portLevelMtls) || size(self.portLevelMtls) == 0 || "
            "(has(self.selector) && has(self.selector.matchLabels) && size(self.selector.matchLabels) > 0)",
            "has portLevelMtls without selector.matchLabels; ports belong to selected workloads",
        ),
        _rule(
            "!has(self.portLevelMtls) || self.portLevelMtls.all(port, port.matches('^[0-9]{1,5}$') && "
            "int(port) >= 1 && int(port) <= 65535)",
            "portLevelMtls: a key is no port number; write 1 to 65535",
        ),
    ),
    python_filter.PythonFilterSpec: (
        _exactly_one(
            "source", "file", what="write either source (the module's text) or file (its path where the sidecar runs)"
        ),
        _rule("!has(self.sha256) || has(self.file)", "has sha256 without file; it says which file is meant"),
    ),
    request_addon.RequestAddonSpec: (),
}

_MORE: Mapping[tuple[type[BaseModel], str], Mapping[str, Any]] = {
    (http_action.Redirect, "uri"): {"not": {"pattern": r"%PREFIX\(\)%"}},
    (headers.HeaderOperations, "remove"): {
        "items": {"not": {"pattern": f"^({'|'.join(map(any_case, headers.OWNED))})$"}},
    },
    # A path begins with / and has no query, which queryParams is for.
    (http_match.HttpMatch, "uri"): {
        "properties": {"exact": {"pattern": "^(/[^?#]*)?$"}, "prefix": {"pattern": "^/[^?#]*$"}},
    },
}
"""Said without CEL, whose cost in so many entries would be beyond what the API server lets a definition have."""

_SETS: Mapping[type[BaseModel], Iterable[str]] = {virtual_service.VirtualServiceSpec: ("hosts",)}
_MAPS: Mapping[type[BaseModel], Mapping[str, str]] = {
    destination_rule.DestinationRuleSpec: {"subsets": "name"},
    destination_rule.LocalityLbSetting: {"failover": "from"},
    service_entry.ServiceEntrySpec: {"ports": "name"},
}


def of(cls: type[BaseModel]) -> tuple[Rule, ...]:
    """The rules of a model."""
    return _RULES.get(cls, ())


def more(cls: type[BaseModel], alias: str, schema: Rule) -> Rule:
    """The schema of a field, with what its place asks for besides."""
    merged: Rule = _merged(schema, _MORE.get((cls, alias), {}))
    return merged


def _merged(schema: Any, added: Any) -> Any:
    if not isinstance(schema, dict) or not isinstance(added, Mapping):
        return added
    return {**schema, **{key: _merged(schema.get(key, {}), each) for key, each in added.items()}}


def lists(cls: type[BaseModel], alias: str) -> dict[str, Any]:
    """What Kubernetes is to know of a list's entries: that they are distinct, and how patches merge them."""
    if alias in _SETS.get(cls, ()):
        return {"x-kubernetes-list-type": "set"}
    key = _MAPS.get(cls, {}).get(alias)
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]} if key is not None else {}
