"""Where the API server is and who we are to it: from a pod's files or a kubeconfig, by kubernetes-asyncio's loaders.

Kept apart from the client, because importing those loaders costs half a second and 40 MB that a laptop's mesh need not
pay.
"""

import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import yaml
from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.config import ConfigException
from kubernetes_asyncio.config.incluster_config import load_incluster_config
from kubernetes_asyncio.config.kube_config import load_kube_config

from control.kubernetes.client import MAX_ANSWER_BYTES, Cluster, KubeClient
from control.kubernetes.errors import ClusterUnusable
from mesh.clock import Clock

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts `token` and `ca.crt`."""


async def connect(
    clock: Clock,
    *,
    kubeconfig: str = "",
    context: str = "",
    service_account: Path = SERVICE_ACCOUNT,
    max_answer_bytes: int = MAX_ANSWER_BYTES,
) -> KubeClient:
    """A client; nothing is sent yet. Without a kubeconfig it is the pod's own cluster. Raises ClusterUnusable.

    What is read here is read anew when the server no longer accepts it (401): tokens that the kubelet exchanges, and
    those of a kubeconfig's `tokenFile` or `exec`.
    """
    load = _loader(kubeconfig, context, service_account)
    return KubeClient(await load(), clock, load, max_answer_bytes=max_answer_bytes)


def _loader(kubeconfig: str, context: str, service_account: Path) -> Callable[[], Awaitable[Cluster]]:
    async def load() -> Cluster:
        made = Configuration()
        try:
            if kubeconfig:
                path = _readable(kubeconfig)
                # Nothing of the user's file is written back.
                await load_kube_config(path, context or None, made, persist_config=False)
            else:
                token, roots = str(service_account / "token"), str(service_account / "ca.crt")
                load_incluster_config(made, token_filename=token, cert_filename=roots)  # type: ignore[no-untyped-call]
            return await _cluster(made)
        except (ConfigException, OSError, ssl.SSLError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
            where = kubeconfig or "this pod's service account"
            hint = "" if kubeconfig else "; outside a pod give --kubeconfig FILE"
            raise ClusterUnusable(f"{where}: {' '.join(str(error).split()) or type(error).__name__}{hint}") from error

    return load


def _readable(kubeconfig: str) -> str:
    """The file's path; the loader says nothing of one that is not there. Raises ClusterUnusable, OSError."""
    path = os.path.expanduser(kubeconfig)
    try:
        with open(path, "rb"):
            return path
    except FileNotFoundError as error:
        raise ClusterUnusable(f"{kubeconfig} is not there; say where it is: --kubeconfig FILE") from error


async def _cluster(loaded: Configuration) -> Cluster:
    context: ssl.SSLContext | None = None
    host = str(loaded.host).rstrip("/")
    if host.startswith("https"):
        context = ssl.create_default_context(cafile=loaded.ssl_ca_cert)
        # client-go does not ask an authority's certificate for what RFC 5280 would have in it, and clusters lack it.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if loaded.cert_file:
            context.load_cert_chain(loaded.cert_file, loaded.key_file)
        if not loaded.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE

    async def authorization() -> str:
        # In a pod this reads the token's file once a minute.
        return str(await loaded.get_api_key_with_prefix("BearerToken") or "")

    return Cluster(host, context, authorization, loaded.tls_server_name or None, loaded.proxy or None)
