"""What is wrong with a file is said with file, line, field and what would be right; never an exception."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.api import Parsed, SourceFile, parse
from control.api.source import MAX_CALL_BYTES, MAX_FILE_BYTES
from control.api.yaml_documents import Document, read
from control.api.yaml_events import MAX_NODES, TOO_MANY
from tests.control.translate.bookinfo import rule


def vs(route: str) -> str:
    return rule("VirtualService", "reviews", "hosts: [reviews]\nhttp:\n" + route)


def dr(more: str) -> str:
    return rule("DestinationRule", "reviews", "host: reviews\n" + more)


def one(destination: str = "destination: {host: reviews}") -> str:
    return f"- route: [{{{destination}}}]\n"


DOCUMENTS = [
    ("an empty file", "", 1, "", "is empty"),
    ("only comments", "# nothing\n---\n# here\n", 1, "", "is empty"),
    ("a scalar", "hello", 1, "", "is no mapping but 'hello'"),
    ("a list", "- a\n", 1, "", "is no mapping"),
    ("not YAML", "a: [", 1, "", "is not YAML"),
    ("an unclosed quote", "a: 'b\n", 1, "", "is not YAML"),
    ("a tab for indentation", "a:\n\tb: 1\n", 2, "", "indented with a tab; indent with spaces"),
    ("a NUL", "a: b\nc: \0\n", 2, "", "a NUL character"),
    ("another control character", "a: \x07", 1, "", "the character U+0007"),
    ("an escaped NUL", 'a: "\\0"', 1, "a", "a NUL"),
    ("half a surrogate pair", 'a: "\\ud800"', 1, "a", "half a surrogate pair"),
    ("a duplicate key", "a: 1\nb: 2\na: 3\n", 3, "a", "written twice, first in line 1"),
    ("a nested duplicate key", "a:\n  b: 1\n  b: 2\n", 3, "a.b", "written twice, first in line 2"),
    ("a key that is a list", "? [a]\n: 1\n", 1, "", "keys are text"),
    ("a key that is null", "~: 1\n", 1, "", "which YAML reads as no text"),
    ("a key that is a truth value", "true: 1\n", 1, "", "quote it"),
    ("a merge key", "a: &a {b: 1}\nc:\n  <<: *a\n", 3, "c", "merge key"),
    ("an undefined alias", "a: *b\n", 1, "", "undefined alias 'b'"),
    ("an alias to what is around it", "&a [*a]\n", 1, "[0][0][0][0]", "nested too deeply"),
    (
        "a bomb of aliases",
        "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + "".join(
            f"{b}: &{b} [{','.join(f'*{a}' for _ in range(10))}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)
        ),
        1,
        "e",
        "more than 50000 values",
    ),
    ("deep nesting", "[" * 2000, 1, "", "nested too deeply"),
    ("a Python object", "!!python/object/apply:os.system ['true']\n", 1, "", "YAML tag"),
    ("a local tag", "a: !secret b\n", 1, "a", "YAML tag '!secret'"),
    ("a number beyond counting", "a: " + "9" * 100 + "\n", 1, "a", "quote it"),
    ("infinity", "a: .inf\n", 1, "a", "quote it"),
    ("no kind", "apiVersion: v1\nmetadata: {name: a}\nspec: {}\n", 1, "kind", "is required"),
    ("an unknown kind", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n", 2, "kind", "does not know"),
    (
        "a misspelt kind",
        "apiVersion: v1\nkind: VirtualServcie\nmetadata: {name: a}\n",
        2,
        "kind",
        "did you mean VirtualService?",
    ),
    ("a kind in the plural", "kind: virtualservices\nmetadata: {name: a}\n", 1, "kind", "did you mean VirtualService?"),
    ("a kind of another type", "kind: 3\n", 1, "kind", "is required"),
    (
        "no version",
        "kind: Gateway\nmetadata: {name: a}\nspec: {}\n",
        1,
        "apiVersion",
        "is required; for Gateway write networking.istio.io/v1",
    ),
    (
        "a wrong version",
        "apiVersion: networking.istio.io/v2\nkind: Gateway\nmetadata: {name: a}\nspec: {}\n",
        1,
        "apiVersion",
        "is 'networking.istio.io/v2'",
    ),
    ("no metadata", "apiVersion: v1\nkind: Service\nspec: {ports: [{port: 1}]}\n", 1, "metadata", "is required"),
    (
        "no name",
        "apiVersion: v1\nkind: Service\nmetadata: {}\nspec: {ports: [{port: 1}]}\n",
        3,
        "metadata.name",
        "is required",
    ),
    ("a name in capitals", rule("Service", "Reviews", "ports: [{port: 1}]"), 4, "metadata.name", "lower-case"),
    ("a name that is a path", rule("Service", "../x", "ports: [{port: 1}]"), 4, "metadata.name", "not a DNS name"),
    (
        "a namespace that is a path",
        rule("Service", "x", "ports: [{port: 1}]", ".."),
        5,
        "metadata.namespace",
        "not a DNS label",
    ),
    (
        "an unknown field of metadata",
        "apiVersion: v1\nkind: Service\nmetadata: {nmae: a}\nspec: {ports: [{port: 1}]}\n",
        3,
        "metadata.nmae",
        "did you mean name?",
    ),
    ("no spec", "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n", 1, "spec", "is required"),
    (
        "an empty spec",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n",
        4,
        "spec",
        "is empty; write a map",
    ),
    (
        "a misspelt part",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspce: {}\n",
        4,
        "spce",
        "did you mean spec?",
    ),
    ("a List without items", "apiVersion: v1\nkind: List\n", 1, "items", "at least one"),
    ("a List with a scalar", "apiVersion: v1\nkind: List\nitems:\n- 1\n", 4, "items[0]", "is no mapping"),
]

RULES = [
    ("a misspelt host", vs("- route: [{destination: {hots: reviews}}]"), 8,
     "spec.http[0].route[0].destination.hots", "did you mean host?"),
    ("an unknown field with nothing close", vs(one() + "  zzz: 1"), 9, "spec.http[0].zzz", "known here are"),
    ("a field of another place", vs(one() + "  host: x"), 9, "spec.http[0].host", "is an unknown field"),
    ("too much weight", vs(
        "- route:\n  - destination: {host: reviews, subset: v1}\n    weight: 80\n"
        "  - destination: {host: reviews, subset: v3}\n    weight: 30"),
     8, "spec.http[0].route", "add up to 110 (80 + 30); they must add up to 100"),
    ("too little weight", vs("- route: [{destination: {host: a}, weight: 1}, {destination: {host: b}, weight: 3}]"), 8,
     "spec.http[0].route", "add up to 4 (1 + 3)"),
    ("no weights", vs("- route: [{destination: {host: a}}, {destination: {host: b}}]"), 8, "spec.http[0].route",
     "add up to 0"),
    ("a negative weight", vs(one("destination: {host: a}, weight: -1")), 8, "spec.http[0].route[0].weight",
     "at least 0"),
    ("a weight in quotes", vs(one("destination: {host: a}, weight: '5'")), 8, "spec.http[0].route[0].weight",
     "write a whole number without quotes"),
    ("a fraction as weight", vs(one("destination: {host: a}, weight: 1.5")), 8, "spec.http[0].route[0].weight",
     "whole number"),
    ("no hosts", rule("VirtualService", "a", "hosts: []\nhttp: [{redirect: {uri: /}}]"), 6, "spec.hosts", "is empty"),
    ("a URL for a host", rule("VirtualService", "a", "hosts: ['http://a/']\nhttp: [{redirect: {uri: /}}]"), 6,
     "spec.hosts[0]", "without scheme, port or path"),
    ("a host twice", rule("VirtualService", "a", "hosts: [a, A]\nhttp: [{redirect: {uri: /}}]"), 6, "spec.hosts",
     "has 'a' twice"),
    ("every host of the mesh", rule("VirtualService", "a", "hosts: ['*']\nhttp: [{redirect: {uri: /}}]"), 5, "spec",
     "name a gateway"),
    ("routes for too many hosts",
     rule("VirtualService", "a", f"hosts: [{', '.join(f'a{n}' for n in range(256))}]\nhttp:\n"
          + "- redirect: {uri: /}\n" * 17), 5, "spec", "comes to 4,352 entries of routing"),
    ("the same body for too many hosts",
     rule("VirtualService", "a", f"hosts: [{', '.join(f'a{n}' for n in range(256))}]\nhttp:\n"
          f"- directResponse: {{status: 200, body: {{string: {'x' * 20_000}}}}}\n"), 5, "spec",
     "bytes of routing tables"),
    ("too many tests", vs("".join(f"- match: [{', '.join(['{port: 80, headers: {a: {}, b: {}}}'] * 64)}]\n"
                                  "  redirect: {uri: /}\n" for _ in range(43))), 5, "spec", "has 8,256 tests in its"),
    ("no http", rule("VirtualService", "a", "hosts: [a]"), 5, "spec", "none of http, tls and tcp"),
    ("http that is a mapping", rule("VirtualService", "a", "hosts: [a]\nhttp: {route: []}"), 7, "spec.http",
     "write a list"),
    ("no action", vs("- name: a"), 8, "spec.http[0]", "none of route, redirect and directResponse"),
    ("two actions", vs(one() + "  redirect: {uri: /}"), 8, "spec.http[0]", "has route and redirect"),
    ("a redirect with a timeout", vs("- redirect: {uri: /}\n  timeout: 1s"), 8, "spec.http[0]",
     "timeout needs a route"),
    ("a redirect to itself", vs("- redirect: {}"), 8, "spec.http[0].redirect", "the same place"),
    ("a redirect with an odd status", vs("- redirect: {uri: /, redirectCode: 300}"), 8,
     "spec.http[0].redirect.redirectCode", "one of 301, 302, 303, 307, 308"),
    ("an answer with an impossible status", vs("- directResponse: {status: 99}"), 8,
     "spec.http[0].directResponse.status", "at least 200"),
    ("an answer with a broken body", vs("- directResponse: {status: 200, body: {bytes: '***'}}"), 8,
     "spec.http[0].directResponse.body", "is no base64"),
    ("a timeout without unit", vs(one() + "  timeout: 10"), 9, "spec.http[0].timeout", "such as 10s"),
    ("a timeout in a wrong unit", vs(one() + "  timeout: 10 sec"), 9, "spec.http[0].timeout", "such as 10s"),
    ("a negative timeout", vs(one() + "  timeout: -1s"), 9, "spec.http[0].timeout", "such as 10s"),
    ("a timeout below a millisecond", vs(one() + "  timeout: 10us"), 9, "spec.http[0].timeout", "at least 1ms"),
    ("cors", vs(one() + "  corsPolicy: {}"), 9, "spec.http[0].corsPolicy", "not supported by Remora yet"),
    ("a delegate", vs("- delegate: {name: a}"), 8, "spec.http[0].delegate", "not supported by Remora yet"),
    ("tcp to nowhere", rule("VirtualService", "a", "hosts: [a]\ntcp: [{}]"), 7, "spec.tcp[0].route", "is required"),
    ("tcp by subnet", rule("VirtualService", "a", "hosts: [a]\ntcp:\n- match: [{sourceSubnet: 10.0.0.0/8}]\n"
                           "  route: [{destination: {host: a}}]"), 8, "spec.tcp[0].match[0].sourceSubnet",
     "not supported by Remora yet"),
    ("tcp with weights", rule("VirtualService", "a", "hosts: [a]\ntcp:\n- route:\n"
                              "  - {destination: {host: a}, weight: 50}\n  - {destination: {host: b}, weight: 40}"), 8,
     "spec.tcp[0].route", "add up to 90"),
    ("tls without a condition", rule("VirtualService", "a", "hosts: [a]\ntls:\n- route: [{destination: {host: a}}]"), 8,
     "spec.tls[0].match", "is required"),
    ("tls for another's name", rule("VirtualService", "a", "hosts: [a.example]\ntls:\n"
                                    "- match: [{sniHosts: [b.example]}]\n  route: [{destination: {host: a}}]"), 5,
     "spec", "not within spec.hosts"),
    ("a match with two kinds", vs("- match: [{uri: {exact: /a, prefix: /b}}]\n  redirect: {uri: /}"), 8,
     "spec.http[0].match[0].uri", "has exact and prefix"),
    ("a match with none", vs("- match: [{uri: {}}]\n  redirect: {uri: /}"), 8, "spec.http[0].match[0].uri",
     "write exactly one"),
    ("a path without slash", vs("- match: [{uri: {exact: a}}]\n  redirect: {uri: /}"), 8, "spec.http[0].match[0].uri",
     "write '/a'"),
    ("a path with a query", vs("- match: [{uri: {exact: '/a?b=c'}}]\n  redirect: {uri: /}"), 8,
     "spec.http[0].match[0].uri", "use queryParams"),
    ("a broken regex", vs("- match: [{uri: {regex: '('}}]\n  redirect: {uri: /}"), 8,
     "spec.http[0].match[0].uri.regex", "unterminated"),
    ("look-around", vs("- match: [{uri: {regex: '(?=a)'}}]\n  redirect: {uri: /}"), 8,
     "spec.http[0].match[0].uri.regex", "no RE2 regex"),
    ("a giant regex", vs(f"- match: [{{uri: {{regex: '{'a' * 2000}'}}}}]\n  redirect: {{uri: /}}"), 8,
     "spec.http[0].match[0].uri.regex", "at most 1024"),
    ("a header name with a space", vs("- match: [{headers: {'a b': {exact: c}}}]\n  redirect: {uri: /}"), 8,
     "spec.http[0].match[0].headers.a b", "not a header name"),
    ("a header twice", vs("- match: [{headers: {a: {}, A: {}}}]\n  redirect: {uri: /}"), 8,
     "spec.http[0].match[0].headers", "has 'a' twice"),
    ("a header's line break", vs(one() + '  headers: {request: {set: {a: "b\\r\\nc: d"}}}'), 9,
     "spec.http[0].headers.request.set.a", "one line"),
    ("a header that frames", vs(one() + "  headers: {request: {set: {content-length: '0'}}}"), 9,
     "spec.http[0].headers.request.set", "belongs to the connection"),
    ("a header of Envoy's commands", vs(one() + "  headers: {request: {set: {a: '%REQ(b)%'}}}"), 9,
     "spec.http[0].headers.request.set.a", "Envoy command"),
    ("an unknown retry condition", vs(one() + "  retries: {attempts: 1, retryOn: 'always'}"), 9,
     "spec.http[0].retries.retryOn", "has 'always'; known are"),
    ("a fault without effect", vs("- fault: {}\n  route: [{destination: {host: a}}]"), 8, "spec.http[0].fault",
     "write delay or abort"),
    ("an abort without status",
     vs("- fault: {abort: {percentage: {value: 1}}}\n  route: [{destination: {host: a}}]"), 8,
     "spec.http[0].fault.abort.httpStatus", "is required"),
    ("more than all", vs("- fault: {abort: {httpStatus: 500, percentage: {value: 101}}}\n"
                         "  route: [{destination: {host: a}}]"), 8,
     "spec.http[0].fault.abort.percentage.value", "at most 100"),
    ("a port beyond ports", vs(one("destination: {host: a, port: {number: 70000}}")), 8,
     "spec.http[0].route[0].destination.port.number", "at most 65535"),
    ("a subset that is a number", vs(one("destination: {host: a, subset: 1}")), 8,
     "spec.http[0].route[0].destination.subset", 'quote it: "1"'),
    ("a destination with a wildcard", vs(one("destination: {host: '*.a'}")), 8,
     "spec.http[0].route[0].destination.host", "write one service's name"),
    ("a rewrite to a group that is not there",
     vs("- route: [{destination: {host: a}}]\n  rewrite: {uriRegexRewrite: {match: '/a', rewrite: '\\1'}}"), 9,
     "spec.http[0].rewrite.uriRegexRewrite", "names group \\1"),
    ("an export to some", rule("VirtualService", "a", "hosts: [a]\nexportTo: ['.']\nhttp: [{redirect: {uri: /}}]"), 7,
     "spec.exportTo", "supports only ['*']"),
    ("a subset twice", dr("subsets: [{name: v1}, {name: v1}]"), 7, "spec.subsets", "defines 'v1' twice"),
    ("a label that is a number", dr("subsets: [{name: v1, labels: {version: 1}}]"), 7,
     "spec.subsets[0].labels.version", 'quote it: "1"'),
    ("a label with a space", dr("subsets: [{name: v1, labels: {version: 'a b'}}]"), 7,
     "spec.subsets[0].labels.version", "not a label value"),
    ("outliers by Istio's former name", dr("trafficPolicy: {outlierDetection: {consecutiveErrors: 1}}"), 7,
     "spec.trafficPolicy.outlierDetection.consecutiveErrors", "write consecutive5xxErrors or consecutiveGatewayErrors"),
    ("failures on our side that are not counted",
     dr("trafficPolicy: {outlierDetection: {consecutiveLocalOriginFailures: 2}}"), 7,
     "spec.trafficPolicy.outlierDetection", "only with splitExternalLocalOriginErrors: true"),
    ("none may be ejected", dr("trafficPolicy: {outlierDetection: {maxEjectionPercent: 0}}"), 7,
     "spec.trafficPolicy.outlierDetection.maxEjectionPercent", "write 1 to 100, or remove it"),
    ("more than all ejected", dr("trafficPolicy: {outlierDetection: {maxEjectionPercent: 101}}"), 7,
     "spec.trafficPolicy.outlierDetection.maxEjectionPercent", "at most 100"),
    ("more than all healthy", dr("trafficPolicy: {outlierDetection: {minHealthPercent: 101}}"), 7,
     "spec.trafficPolicy.outlierDetection.minHealthPercent", "at most 100"),
    ("fewer errors than none", dr("trafficPolicy: {outlierDetection: {consecutive5xxErrors: -1}}"), 7,
     "spec.trafficPolicy.outlierDetection.consecutive5xxErrors", "at least 0"),
    ("sweeps without a pause", dr("trafficPolicy: {outlierDetection: {interval: 0s}}"), 7,
     "spec.trafficPolicy.outlierDetection.interval", "at least 1ms"),
    ("a time without its unit, in a subset's port",
     dr("subsets: [{name: v1, trafficPolicy: {portLevelSettings: [{port: {number: 80},"
        " outlierDetection: {baseEjectionTime: 30}}]}}]"), 7,
     "spec.subsets[0].trafficPolicy.portLevelSettings[0].outlierDetection.baseEjectionTime", "with its unit"),
    ("a misspelt count", dr("trafficPolicy: {outlierDetection: {consecutive5xxError: 1}}"), 7,
     "spec.trafficPolicy.outlierDetection.consecutive5xxError", "did you mean consecutive5xxErrors"),
    ("consistent hashing", dr("trafficPolicy: {loadBalancer: {consistentHash: {}}}"), 7,
     "spec.trafficPolicy.loadBalancer.consistentHash", "not supported by Remora yet"),
    ("shares by locality", dr("trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: []}}}"), 7,
     "spec.trafficPolicy.loadBalancer.localityLbSetting.distribute", "not supported by Remora yet"),
    ("failover to itself", dr("trafficPolicy: {loadBalancer: {localityLbSetting: {failover: [{from: a, to: a}]}}}"), 7,
     "spec.trafficPolicy.loadBalancer.localityLbSetting.failover", "to itself"),
    ("a misspelt balancer", dr("trafficPolicy: {loadBalancer: {simple: ROUND_ROBBIN}}"), 7,
     "spec.trafficPolicy.loadBalancer.simple", "did you mean ROUND_ROBIN?"),
    ("a misspelt TLS mode", dr("trafficPolicy: {tls: {mode: MTLS}}"), 7, "spec.trafficPolicy.tls.mode",
     "one of DISABLE, SIMPLE, MUTUAL, ISTIO_MUTUAL"),
    ("mutual TLS of one's own", dr("trafficPolicy: {tls: {mode: MUTUAL}}"), 7, "spec.trafficPolicy.tls.mode",
     "write ISTIO_MUTUAL"),
    ("no connections at all", dr("trafficPolicy: {connectionPool: {tcp: {maxConnections: 0}}}"), 7,
     "spec.trafficPolicy.connectionPool.tcp.maxConnections", "at least 1"),
    ("a port's policy twice", dr("trafficPolicy: {portLevelSettings: [{port: {number: 1}}, {port: {number: 1}}]}"), 7,
     "spec.trafficPolicy.portLevelSettings", "has port 1 twice"),
    ("a mode in lower case", rule("PeerAuthentication", "a", "mtls: {mode: strict}"), 6, "spec.mtls.mode",
     "did you mean STRICT?"),
    ("ports without a selector", rule("PeerAuthentication", "a", "portLevelMtls: {80: {mode: STRICT}}"), 5, "spec",
     "without selector.matchLabels"),
    ("a port that is a word", rule("PeerAuthentication", "a",
                                   "selector: {matchLabels: {a: b}}\nportLevelMtls: {http: {mode: STRICT}}"), 7,
     "spec.portLevelMtls.http", "not a port number"),
    ("a gateway's TLS by nobody", rule("Gateway", "a", "selector: {a: b}\nservers:\n"
                                       "- port: {number: 443, name: https, protocol: HTTPS}\n  hosts: ['*']"), 8,
     "spec.servers[0]", "HTTPS without tls"),
    ("a gateway's TLS without files", rule("Gateway", "a", "selector: {a: b}\nservers:\n"
                                           "- port: {number: 443, name: https, protocol: HTTPS}\n  hosts: ['*']\n"
                                           "  tls: {mode: SIMPLE}"), 10, "spec.servers[0].tls", "without serverCert"),
    ("a gateway's TLS from several secrets", rule("Gateway", "a", "selector: {a: b}\nservers:\n"
                                           "- port: {number: 443, name: https, protocol: HTTPS}\n  hosts: ['*']\n"
                                           "  tls: {mode: SIMPLE, credentialNames: [x, y]}"), 10,
     "spec.servers[0].tls.credentialNames", "not supported by Remora yet"),
    ("a gateway's TLS from a secret and files", rule("Gateway", "a", "selector: {a: b}\nservers:\n"
                                           "- port: {number: 443, name: https, protocol: HTTPS}\n  hosts: ['*']\n"
                                           "  tls: {mode: SIMPLE, credentialName: x, privateKey: /k}"), 10,
     "spec.servers[0].tls", "has both credentialName and files"),
    ("a gateway's secret that nobody needs", rule("Gateway", "a", "selector: {a: b}\nservers:\n"
                                           "- port: {number: 443, name: https, protocol: HTTPS}\n  hosts: ['*']\n"
                                           "  tls: {mode: PASSTHROUGH, credentialName: x}"), 10,
     "spec.servers[0].tls", "has credentialName, but with PASSTHROUGH"),
    ("a gateway's secret by a path", rule("Gateway", "a", "selector: {a: b}\nservers:\n"
                                           "- port: {number: 443, name: https, protocol: HTTPS}\n  hosts: ['*']\n"
                                           "  tls: {mode: SIMPLE, credentialName: a/b}"), 10,
     "spec.servers[0].tls.credentialName", "'a/b' is not a DNS name"),
    ("a gateway's protocol", rule("Gateway", "a", "selector: {a: b}\nservers:\n"
                                  "- port: {number: 53, name: dns, protocol: UDP}\n  hosts: ['*']"), 8,
     "spec.servers[0].port.protocol", "write one of"),
    ("a gateway without selector", rule("Gateway", "a", "servers: [{port: {number: 80, name: a, protocol: HTTP},"
                                        " hosts: ['*']}]"), 5, "spec.selector", "is required"),
    ("addresses without endpoints", rule("ServiceEntry", "a", "hosts: [a.example]\nresolution: STATIC\n"
                                         "ports: [{number: 80, name: http}]"), 5, "spec", "but no endpoints"),
    ("a name as address", rule("ServiceEntry", "a", "hosts: [a.example]\nresolution: STATIC\n"
                               "ports: [{number: 80, name: http}]\nendpoints: [{address: b.example}]"), 5, "spec",
     "STATIC needs an IP"),
    ("too many ports of hosts",
     rule("ServiceEntry", "a", f"hosts: [{', '.join(f'a{n}.example' for n in range(129))}]\n"
          f"ports: [{', '.join(f'{{number: {n}, name: p{n}}}' for n in range(1, 9))}]"), 5, "spec", "1,032 in all"),
    ("too many endpoints of ports",
     rule("ServiceEntry", "a", "hosts: [a.example, b.example, c.example, d.example]\nresolution: STATIC\n"
          "ports: [{number: 80, name: a}, {number: 81, name: b}]\n"
          f"endpoints: [{', '.join(f'{{address: 10.0.{n // 250}.{n % 250}}}' for n in range(513))}]"), 5, "spec",
     "4,104 in all"),
    ("a wildcard entry", rule("ServiceEntry", "a", "hosts: ['*.example']\nports: [{number: 80, name: http}]"), 6,
     "spec.hosts", "name each host"),
    ("a service over UDP", rule("Service", "a", "ports: [{port: 53, protocol: UDP}]"), 6, "spec.ports[0].protocol",
     "must be TCP"),
    ("a service outside", rule("Service", "a", "externalName: b.example\nports: [{port: 80}]"), 6, "spec.externalName",
     "not supported by Remora yet"),
    ("nameless ports", rule("Service", "a", "ports: [{port: 80}, {port: 81}]"), 6, "spec.ports", "a name of its own"),
]  # fmt: skip


TABBED = "# \t\n"
"""A tab, which the quick reader leaves to the other."""


@pytest.mark.parametrize("before", ["", TABBED], ids=["the quick reader", "the other reader"])
@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        pytest.param("---\n" * 250_000, 10_001, "has more than 10,000 documents, empty ones counted; split the file"),
        pytest.param("--- ~\n" * 20_000, 10_001, "has more than 10,000 documents, empty ones counted; split the file"),
        pytest.param("--- {}\n" * 20_000, 10_001, "has more than 10,000 documents, empty ones counted; split the file"),
        pytest.param("- a\n" * 400_000, 100_000, TOO_MANY),
        pytest.param("a: 1\n" * 300_000, 50_000, TOO_MANY),
        pytest.param("[" + "{},\n" * 300_000 + "]", 100_000, TOO_MANY),
    ],
    ids=["empty documents", "documents of nothing", "small documents", "a list", "one key again and again", "maps"],
)
def test_reading_ends_where_there_is_too_much(before: str, text: str, line: int, message: str) -> None:
    """Not when all of it is in memory: two megabytes took 19 s."""
    (violation,) = parse([SourceFile("big.yaml", before + text)]).violations[-1:]
    assert str(violation) == f"big.yaml:{line + bool(before)}: {message}"
    assert len(parse([SourceFile("a.yaml", rule("Gateway", "a", "x: 1"))]).violations) > 0


def test_as_many_values_as_are_allowed_are_read_whatever_they_are() -> None:
    for each, before in (("{}", ""), ("a", ""), ("a", TABBED)):
        (violation,) = parse([SourceFile("a.yaml", before + f"- {each}\n" * (MAX_NODES - 1))]).violations
        assert "is no mapping but" in violation.message
    (violation,) = parse([SourceFile("a.yaml", "- a\n" * MAX_NODES)]).violations
    assert violation.message == TOO_MANY


@pytest.mark.filterwarnings("error")
def test_an_anchor_that_is_set_again_is_no_warning_that_is_kept_for_ever() -> None:
    (document,) = read("# \t\n- &a 1\n- &a 2\n- *a\n")
    assert isinstance(document, Document)
    assert document.value == [1, 2, 2]


def test_a_list_takes_as_long_as_its_items() -> None:
    def cpu_s(items: int) -> float:
        text = "apiVersion: v1\nkind: List\nitems:\n" + "".join(
            "- {apiVersion: security.istio.io/v1, kind: PeerAuthentication, "
            f"metadata: {{name: p{number}}}, spec: {{mtls: {{mode: STRICT}}}}}}\n"
            for number in range(items)
        )
        began = time.thread_time()
        assert len(parse([SourceFile("a.yaml", text)]).resources) == items
        return time.thread_time() - began

    few = min(cpu_s(250) for _ in range(3))
    assert cpu_s(2_000) < 13 * few  # eight times; with each looking through all others' lines it was twenty


@pytest.mark.parametrize(
    ("text", "line", "path", "message"),
    [pytest.param(*case[1:], id=case[0]) for case in [*DOCUMENTS, *RULES]],
)
def test_bad_input_is_explained_where_it_stands(text: str, line: int, path: str, message: str) -> None:
    parsed = parse([SourceFile("bad.yaml", text)])
    assert not parsed.ok
    found = [str(v) for v in parsed.violations if v.path == path and v.line == line and message in v.message]
    assert found, [f"line {v.line}: {v.path}: {v.message}" for v in parsed.violations]
    assert found[0].startswith(f"bad.yaml:{line}: ")
    assert all("\n" not in str(v) for v in parsed.violations)


def test_a_violation_reads_as_promised() -> None:
    parsed = parse([SourceFile("rules/reviews.yaml", vs(one("destination: {hots: reviews}")))])
    assert "rules/reviews.yaml:8: VirtualService/reviews: spec.http[0].route[0].destination.hots: " in str(
        parsed.violations[1]
    )


def test_every_mistake_of_a_file_is_reported_at_once() -> None:
    text = "---\n".join(
        [vs(one("destination: {hots: a}, weight: x")), dr("zzz: 1"), "kind: Foo\n", rule("Gateway", "a", "x: 1")]
    )
    violations = parse([SourceFile("a.yaml", text), SourceFile("b.yaml", "")]).violations
    assert {(v.file, v.kind) for v in violations} == {
        ("a.yaml", "VirtualService"),
        ("a.yaml", "DestinationRule"),
        ("a.yaml", "Foo"),
        ("a.yaml", "Gateway"),
        ("b.yaml", ""),
    }


def test_a_broken_document_does_not_hide_the_ones_before_it() -> None:
    parsed = parse([SourceFile("a.yaml", dr("") + "---\na: [\n")])
    assert [r.name for r in parsed.resources] == ["reviews"]
    assert [v.line for v in parsed.violations] == [8]
    assert not parsed.ok


def test_a_file_of_fifty_megabytes_is_refused_by_its_size() -> None:
    parsed = parse([SourceFile("big.yaml", "# " + "x" * 50_000_000)])
    assert [str(v) for v in parsed.violations] == [
        f"big.yaml:1: has 50,000,002 bytes; a file has at most {MAX_FILE_BYTES:,}: split it"
    ]


def test_files_that_are_too_large_together_are_refused() -> None:
    comment = "# " + "x" * (MAX_FILE_BYTES - 3) + "\n"
    parsed = parse([SourceFile(str(index), comment) for index in range(5)])
    assert f"larger than {MAX_CALL_BYTES:,} bytes" in parsed.violations[-1].message


texts = st.text() | st.text(alphabet="{}[]:,&*!|>'\"%@-?# \n\tabc01~<\0\ud800") | st.sampled_from(
    [case[1] for case in RULES]
).flatmap(lambda text: st.integers(0, len(text)).map(lambda cut: text[:cut] + text[cut + 1 :]))  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(texts)
def test_no_text_makes_parsing_fail(text: str) -> None:
    parsed = parse([SourceFile("any.yaml", text)])
    assert isinstance(parsed, Parsed)
    assert parsed.resources or parsed.violations
    for violation in parsed.violations:
        assert 1 <= violation.line <= text.count("\n") + text.count("\r") + text.count("\x85") + 9
        assert "\n" not in str(violation)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(["hosts", "http", "route", "match", "uri", "exact", "host", "subsets"]), children
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["VirtualService", "DestinationRule", "PeerAuthentication", "Gateway", "ServiceEntry"]), json_values
)
def test_no_shape_of_spec_makes_parsing_fail(kind: str, spec: object) -> None:
    text = rule(kind, "a", "x: 1").replace("  x: 1\n", "").rstrip() + " " + json.dumps(spec) + "\n"
    parsed = parse([SourceFile("any.yaml", text)])
    assert parsed.resources or parsed.violations
