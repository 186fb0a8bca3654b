"""Conditions of VirtualService routes to conditions of the mesh."""

from control.api.kinds.http_match import HttpMatch
from control.api.kinds.string_match import HeaderMatch as ApiHeaderMatch
from control.api.kinds.string_match import StringMatch
from control.ir.matches import Audience, Compare, HeaderMatch, QueryMatch, RequestMatch, TextMatch


def request_match(match: HttpMatch) -> RequestMatch:
    """What a request must be."""
    headers = []
    pseudo = ((":scheme", match.scheme), (":method", match.method), (":authority", match.authority))
    for name, condition in pseudo:
        if condition is not None:
            headers.append(HeaderMatch(name, _text(condition)))
    headers += [HeaderMatch(name.lower(), _text(condition)) for name, condition in match.headers.items()]
    headers += [HeaderMatch(n.lower(), _text(condition), invert=True) for n, condition in match.without_headers.items()]
    return RequestMatch(
        path=_text(match.uri, ignore_case=match.ignore_uri_case) if match.uri else None,
        headers=tuple(headers),
        query=tuple(QueryMatch(name, _text(condition)) for name, condition in match.query_params.items()),
    )


def audience(match: HttpMatch, namespace: str) -> Audience:
    """Which proxies and ports the condition is for."""
    return Audience(
        labels=tuple(sorted(match.source_labels.items())),
        namespace=match.source_namespace,
        gateways=tuple(gateway_name(gateway, namespace) for gateway in match.gateways),
        port=match.port,
    )


def gateway_name(gateway: str, namespace: str) -> str:
    """`mesh`, or `NAMESPACE/NAME` of a gateway that a rule of `namespace` names."""
    if gateway == "mesh" or "/" in gateway:
        return gateway
    name, dot, rest = gateway.partition(".")
    # `name.namespace.svc.cluster.local`, the form of Istio before 1.0
    return f"{rest.partition('.')[0]}/{name}" if dot else f"{namespace}/{gateway}"


def _text(match: StringMatch | ApiHeaderMatch, *, ignore_case: bool = False) -> TextMatch:
    if match.exact is not None:
        return TextMatch(Compare.EXACT, match.exact, ignore_case)
    if match.prefix is not None:
        return TextMatch(Compare.PREFIX, match.prefix, ignore_case)
    if match.regex is not None:
        return TextMatch(Compare.REGEX, match.regex)  # Istio: ignoreUriCase is for exact and prefix
    return TextMatch(Compare.PRESENT)
