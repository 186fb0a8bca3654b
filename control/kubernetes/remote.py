"""Another cluster's kubeconfig, as a Secret holds it, to a connection: nothing of it is run, and no file is read.

A kubeconfig may name commands and files. Whoever may write a Secret must not thereby start commands in the control
plane, nor have it send its own files elsewhere.
"""

import base64
import binascii
import contextlib
import ipaddress
import os
import re
import ssl
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from control.api.yaml_documents import Document, read
from control.kubernetes.client import Cluster
from control.kubernetes.errors import ClusterUnusable

MAX_BYTES = 64 * 1024
MAX_BRACKETS = 100
"""Written as JSON it has a dozen; thousands of open ones take seconds to find unclosed."""
_CLUSTER = ("server", "certificate-authority-data", "tls-server-name")
_USER = ("token", "client-certificate-data", "client-key-data")
_HARMLESS = ("extensions",)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?\Z")


def read_kubeconfig(text: bytes) -> Cluster:
    """Of its current context. Raises ClusterUnusable, which says what would be right and repeats no credential."""
    if len(text) > MAX_BYTES:
        raise ClusterUnusable(f"the kubeconfig has {len(text):,} bytes, more than {MAX_BYTES:,}")
    if text.count(b"[") + text.count(b"{") > MAX_BRACKETS:
        raise ClusterUnusable(f"the kubeconfig has more than {MAX_BRACKETS} brackets")
    # By the reader that rules are read with: it bounds depth and aliases.
    documents = list(read(text.decode("utf-8", "replace")))
    if len(documents) != 1 or not isinstance(documents[0], Document):
        raise ClusterUnusable("the kubeconfig is not YAML, or has several documents")
    config = documents[0].value
    if not isinstance(config, Mapping):
        raise ClusterUnusable("the kubeconfig is no mapping")
    context = _named(config, "contexts", config.get("current-context"), "context")
    cluster = _named(config, "clusters", context.get("cluster"), "cluster")
    user = _named(config, "users", context.get("user"), "user")
    _only(cluster, _CLUSTER, "cluster")
    _only(user, _USER, "user")
    server = _server(str(cluster.get("server") or "").rstrip("/"))
    named = str(cluster.get("tls-server-name") or "")
    if named and not _HOST.match(named):
        raise ClusterUnusable("the kubeconfig's tls-server-name is no host name")
    tls = _trust(_data(cluster, "certificate-authority-data"))
    token = str(user.get("token") or "").strip()
    certificate, key = _data(user, "client-certificate-data"), _data(user, "client-key-data")
    if bool(certificate) != bool(key) or not (token or certificate):
        raise ClusterUnusable("the kubeconfig's user needs a token, or client-certificate-data and client-key-data")
    if any(not character.isprintable() for character in token):
        raise ClusterUnusable("the kubeconfig's token has characters that no token has")
    if certificate:
        _present(tls, certificate, key)

    async def authorization() -> str:
        return f"Bearer {token}" if token else ""

    return Cluster(server, tls, authorization, named or None)


def _server(written: str) -> str:
    """Raises ClusterUnusable, which does not repeat it: a password may be in it."""
    try:
        found = urlsplit(written)
        host, _ = found.hostname, found.port
    except ValueError:
        raise ClusterUnusable("the kubeconfig's server is no URL; write https://HOST:PORT") from None
    if found.scheme != "https" or not host:
        raise ClusterUnusable("the kubeconfig's server must be https://HOST:PORT: what it says is believed")
    # urlsplit drops tabs and line ends without a word.
    if not (written.isascii() and written.isprintable()) or " " in written or any((found.query, found.fragment)):
        raise ClusterUnusable("the kubeconfig's server has characters that https://HOST:PORT/PATH has not")
    if found.username is not None:
        raise ClusterUnusable("the kubeconfig's server has a user name in it; write https://HOST:PORT")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if not _HOST.match(host):
            raise ClusterUnusable("the kubeconfig's server has a host that is no name and no address") from None
        return written
    mapped = getattr(address, "ipv4_mapped", None) or address
    if mapped.is_link_local or mapped.is_multicast or mapped.is_unspecified:
        raise ClusterUnusable(
            f"the kubeconfig's server is {address}, where is no API server, but a cloud's credentials"
        )
    return written


def _named(config: Mapping[str, Any], listed: str, name: object, what: str) -> Mapping[str, Any]:
    entries = config.get(listed)
    for each in entries if isinstance(entries, Sequence) and not isinstance(entries, str) else ():
        if isinstance(each, Mapping) and name is not None and each.get("name") == name:
            found = each.get(what)
            if isinstance(found, Mapping):
                return found
    raise ClusterUnusable(f"the kubeconfig's current context has no {what}")


def _only(found: Mapping[str, Any], known: Sequence[str], what: str) -> None:
    for name in found:
        if name not in known and name not in _HARMLESS:
            raise ClusterUnusable(f"the kubeconfig's {what} has {str(name)[:63]!r}; it may have {', '.join(known)}")


def _data(found: Mapping[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(str(found.get(name) or ""), validate=True)
    except binascii.Error:
        raise ClusterUnusable(f"the kubeconfig's {name} is not base64") from None


def _trust(authority: bytes) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=authority.decode("ascii") if authority else None)
    except (ssl.SSLError, ValueError):
        raise ClusterUnusable("the kubeconfig's certificate-authority-data is no PEM certificate") from None
    # client-go does not ask an authority's certificate for what RFC 5280 would have in it, and clusters lack it.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _present(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    with _private_file(certificate + b"\n" + key) as path:
        try:
            context.load_cert_chain(path)
        except ssl.SSLError:
            raise ClusterUnusable("the kubeconfig's client certificate and key do not go together") from None


@contextlib.contextmanager
def _private_file(data: bytes) -> Iterator[str]:
    """For the moment of the call: Python's ssl reads keys from files alone."""
    fd, path = tempfile.mkstemp(prefix="remora-")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        yield path
    finally:
        os.unlink(path)
