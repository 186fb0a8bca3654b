"""`remora proxy --pod`: what a sidecar's flags are in a pod, from its environment and the downward API's files.

The injector writes the environment, so that a container's arguments stay short; flags that are given beside --pod win.
Everything that is missing or malformed is said at once, a line each, with the fix.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from mesh.json_text import parse_json
from mesh.spiffe import InvalidSpiffeId, SpiffeId
from sidecar.agent.app_probe_specs import WrongProbe, parse_probes
from sidecar.agent.pod_files import WrongPodFile, read_pairs
from sidecar.bootstrap import Bootstrap, parse
from sidecar.pod import AppProbe, Form, Pod, Stay

FLAG = "--pod"
POD_DIRECTORY = "/etc/remora/pod"
ROOT = "/var/run/secrets/remora/root.pem"
TOKEN = "/var/run/secrets/tokens/remora-token"  # noqa: S105  where it is, not what it is
CONTROL = "remora-control.remora-system.svc"
ADMIN_PORT, OUTBOUND_PORT, INBOUND_PORT, STATUS_PORT, READY_PORT = 15000, 15001, 15006, 15020, 15021
DNS_PORT = 15053
"""Where `remora init-iptables --capture-dns` has DNS asked."""

PROMETHEUS = "prometheus.io/"
SCRAPE_PORT, SCRAPE_PATH = 80, "/metrics"
"""Where Istio looks for an application's metrics when its annotations do not say."""

_CLUSTER = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9._]{0,61}[A-Za-z0-9])?\Z")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_DURATION = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6}(?:\.\d{1,9})?)s)?(?:(\d{1,9})ms)?\Z")
_SECONDS = re.compile(r"\d{1,6}\Z")
_METRICS_PATH = re.compile(r"/[\x21-\x7e]{0,1023}\Z")

_DRAIN_S, _GRACE_S = 5.0, 30.0
"""Istio's terminationDrainDuration and Kubernetes' terminationGracePeriodSeconds, where nobody sets them."""

_T = TypeVar("_T")


class WrongPod(Exception):
    """The environment is not one that a sidecar can live in; a line for each mistake."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


def bootstrap_of(argv: Sequence[str], environ: Mapping[str, str]) -> Bootstrap:
    """The flags as a value, with those that --pod stands for. Raises WrongPod; SystemExit as `bootstrap.parse`."""
    given = list(argv)
    if FLAG not in given:
        return parse(given)
    given.remove(FLAG)
    if {"-h", "--help"} & set(given):
        return parse(given)
    flags, pod = read_pod(environ, gateway=_is_gateway(given))
    if any(flag.partition("=")[0] in ("--listen", "--listen-fd") for flag in given):
        flags = [flag for flag in flags if not flag.startswith("--listen=")]
    return replace(parse([*flags, *given]), pod=pod)


def _is_gateway(argv: Sequence[str]) -> bool:
    return "--kind=gateway" in argv or ("--kind", "gateway") in pairwise(argv)


def read_pod(environ: Mapping[str, str], *, gateway: bool = False) -> tuple[list[str], Pod]:
    """Flags for `bootstrap.parse`, and what is no flag. Raises WrongPod."""
    reading = _Reading(environ)
    made = reading.flags(gateway), reading.pod(gateway)
    if reading.mistakes:
        raise WrongPod(reading.mistakes)
    return made


class _Reading:
    """Goes on after a mistake, so that all of them are said."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.mistakes: list[str] = []
        self._directory = Path(environ.get("REMORA_POD_DIRECTORY") or POD_DIRECTORY)
        self.name = self._required("POD_NAME", "metadata.name", _matching(_SUBDOMAIN, "a pod's name"))
        self.namespace = self._required("POD_NAMESPACE", "metadata.namespace", _matching(_LABEL, "a namespace's name"))
        self.account = self._required(
            "SERVICE_ACCOUNT", "spec.serviceAccountName", _matching(_SUBDOMAIN, "a service account's name")
        )
        self.address = self._required("INSTANCE_IP", "status.podIP", _ip)

    def flags(self, gateway: bool) -> list[str]:
        name, namespace, address = self.name or "-", self.namespace or "-", self.address or "0.0.0.0"  # noqa: S104
        anywhere = "[::]" if ":" in address else "0.0.0.0"  # noqa: S104  the kubelet and Prometheus ask from outside
        kind = "router" if gateway else "sidecar"
        owner = self._optional("REMORA_META_WORKLOAD", _matching(_SUBDOMAIN, "the name of a workload"), name)
        flags = [
            f"--node-id={kind}~{address}~{name}.{namespace}~{namespace}.svc.cluster.local",
            f"--workload={owner}",
            f"--namespace={namespace}",
            f"--identity={self._identity()}",
            f"--cluster-id={self._optional('REMORA_CLUSTER_ID', _matching(_CLUSTER, 'a name'), 'Kubernetes')}",
            f"--ads={CONTROL}:15012",
            f"--csr={CONTROL}:15011",
            f"--root={ROOT}",
            f"--token-file={TOKEN}",
            f"--admin=127.0.0.1:{ADMIN_PORT}",
            f"--metrics={anywhere}:{STATUS_PORT}",
            f"--readiness={anywhere}:{READY_PORT}",
        ]
        labels = self._file("labels")
        flags.append("--labels=" + ",".join(f"{key}={value}" for key, value in sorted(labels.items())))
        if not gateway:
            flags += [f"--listen={anywhere}:{port}" for port in (INBOUND_PORT, OUTBOUND_PORT)]
        if not gateway and self._optional("REMORA_DNS_CAPTURE", _truth, False):
            flags.append(f"--dns-port={DNS_PORT}")
        metrics = self._app_metrics("[::1]" if ":" in address else "127.0.0.1")
        return flags if metrics is None else [*flags, f"--app-metrics={metrics}"]

    def pod(self, gateway: bool) -> Pod:
        none: tuple[AppProbe, ...] = ()
        return Pod(
            name=self.name or "-",
            address=self.address or "-",
            form=self._optional("REMORA_SIDECAR_FORM", _member(Form), Form.CLASSIC),
            job=self._optional("REMORA_POD_KIND", _matching(_LABEL, "a kind in lower case, such as job"), "") == "job",
            # A gateway is beside nobody: what it waits for is that its clients learn of its end.
            stay=self._optional("REMORA_STAY", _member(Stay), Stay.DRAIN if gateway else Stay.APPLICATION),
            drain_s=self._optional("REMORA_TERMINATION_DRAIN_DURATION", _duration, _DRAIN_S),
            grace_s=self._optional("REMORA_TERMINATION_GRACE_PERIOD", _duration, _GRACE_S),
            revision=self._optional("REMORA_REVISION", _matching(_LABEL, "a revision's name"), None),
            host=self._optional("HOST_IP", _ip, None),
            probes=self._optional("REMORA_APP_PROBES", parse_probes, none),
        )

    def _identity(self) -> str:
        trust_domain = self._environ.get("REMORA_TRUST_DOMAIN") or "cluster.local"
        try:
            return str(SpiffeId(trust_domain, self.namespace or "default", self.account or "default"))
        except InvalidSpiffeId as error:
            self.mistakes.append(f"REMORA_TRUST_DOMAIN: {error}")
            return "spiffe://cluster.local/ns/default/sa/default"

    def _app_metrics(self, host: str) -> str | None:
        """URL of the application's own metrics, as its annotations say: those that it had before the injector pointed
        Prometheus at us, if it did."""
        handed = self._environ.get("REMORA_PROMETHEUS_ANNOTATIONS")
        annotations = self._file("annotations")
        if handed:
            annotations = self._optional("REMORA_PROMETHEUS_ANNOTATIONS", _annotations, {})
        said = {key: annotations.get(PROMETHEUS + key, "") for key in ("scrape", "port", "path", "scheme")}
        if said["scrape"] != "true":
            return None
        where = "REMORA_PROMETHEUS_ANNOTATIONS" if handed else f"{self._directory}/annotations"
        port = said["port"] or str(SCRAPE_PORT)
        path = said["path"] or SCRAPE_PATH
        path = path if path.startswith("/") else f"/{path}"
        if not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) < 65536:
            self.mistakes.append(f"{where}: {PROMETHEUS}port is {port[:50]!r}; write a port's number")
        elif int(port) == STATUS_PORT:
            return None  # Prometheus is to ask us, and nobody else
        if not _METRICS_PATH.match(path) or "#" in path:
            self.mistakes.append(f"{where}: {PROMETHEUS}path is {path[:100]!r}; write the path of a URL")
        if said["scheme"] not in ("", "http"):
            self.mistakes.append(
                f"{where}: {PROMETHEUS}scheme is {said['scheme'][:50]!r}; only http is merged: have the application "
                f'serve its metrics without TLS inside the pod, or set {PROMETHEUS}scrape: "false"'
            )
        return f"http://{host}:{port}{path}"

    def _file(self, name: str) -> dict[str, str]:
        path = self._directory / name
        try:
            return read_pairs(path)
        except OSError as error:
            self.mistakes.append(
                f"{path}: cannot be read: {error.strerror}; mount a downwardAPI volume at {self._directory} with the "
                f"item {name} of fieldRef metadata.{name}"
            )
        except WrongPodFile as error:
            self.mistakes.append(f"{path}: {error}")
        return {}

    def _required(self, variable: str, field: str, read: Callable[[str], str]) -> str | None:
        text = self._environ.get(variable)
        if not text:
            self.mistakes.append(f"{variable}: is not set; give the container env {variable} of fieldRef {field}")
            return None
        return self._optional(variable, read, None)

    def _optional(self, variable: str, read: Callable[[str], _T], default: _T) -> _T:
        text = self._environ.get(variable)
        if not text:
            return default
        try:
            return read(text)
        except WrongProbe as error:
            self.mistakes.append(f"{variable}{'' if str(error).startswith('[') else ': '}{error}")
        except ValueError as error:
            self.mistakes.append(f"{variable}: {error}")
        return default


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not pattern.match(text):
            raise ValueError(f"{text[:200]!r} is not {what}")
        return text

    return read


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"{text[:100]!r}; write true or false")
    return text == "true"


def _ip(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"{text[:100]!r} is not an IP address") from None


def _member(kind: Any) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            raise ValueError(f"{text[:100]!r}; write {' or '.join(each.value for each in kind)}") from None

    return read


def _duration(text: str) -> float:
    """`30s`, `1m30s`, `500ms` as Istio writes durations, or whole seconds as Kubernetes does."""
    match = _DURATION.match(text)
    if _SECONDS.match(text):
        seconds = float(text)
    elif match is not None:
        hours, minutes, whole, ms = (float(part or 0) for part in match.groups())
        seconds = hours * 3600 + minutes * 60 + whole + ms / 1000
    else:
        raise ValueError(f"{text[:100]!r} is no duration; write seconds or e.g. 30s, 1m30s, 500ms")
    if seconds > 86400:
        raise ValueError(f"{text[:100]!r} is longer than a day")
    return seconds


def _annotations(text: str) -> dict[str, str]:
    """`{"scrape": "true", "port": "8080", "path": "/metrics"}`, as Istio's injector hands them over."""
    try:
        found = parse_json(text)
    except ValueError as error:
        raise ValueError(f"is no JSON: {error}") from error
    known = {"scrape", "port", "path", "scheme"}
    if not isinstance(found, dict) or not all(key in known and isinstance(value, str) for key, value in found.items()):
        raise ValueError(f"is no JSON object of texts named {', '.join(sorted(known))}")
    return {PROMETHEUS + key: value for key, value in found.items()}
