"""A control plane's REST interface as docs/interfaces.md describes it, small and in memory, over TLS. A child process:
`python fake_control.py STATE` writes control.json, admin.token and ca/root.pem there and prints `ready`."""

import datetime
import hashlib
import ipaddress
import json
import os
import re
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from ruamel.yaml import YAML, YAMLError

TOKEN = "a-token-that-no-browser-ever-sees"
PROXIES = ("ingress", "productpage-v1", "details-v1", "reviews-v1", "reviews-v2", "reviews-v3", "ratings-v1")
FIELDS = {"VirtualService": {"hosts", "http"}, "DestinationRule": {"host", "subsets", "trafficPolicy"},
          "PeerAuthentication": {"mtls"}}  # fmt: skip


def certificate(folder: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 and localhost, as ca/root.pem and with its key for the server."""
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fake control")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca").mkdir(exist_ok=True)
    (folder / "ca" / "root.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    both = folder / "server.pem"
    both.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return both


class Rules:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stored: dict[tuple[str, str, str], str] = {}
        self.version = 1

    def etag(self, key: tuple[str, str, str]) -> str:
        return hashlib.sha256(self.stored[key].encode()).hexdigest()[:8] if key in self.stored else ""

    def changed(self, expect: list[dict[str, str]]) -> list[dict[str, Any]]:
        keys = {(each["kind"], each["namespace"], each["name"]): each["etag"] for each in expect}
        return [
            violation("", 0, key[0], key[2], "", "somebody has changed it meanwhile")
            for key, etag in keys.items()
            if self.etag(key) != etag
        ]

    def summary(self, key: tuple[str, str, str]) -> dict[str, Any]:
        """A file `conditions.json` of the state directory has what is said of rules, by name."""
        said = self.folder / "conditions.json"
        conditions = json.loads(said.read_bytes()).get(key[2], []) if said.exists() else []
        return {"kind": key[0], "namespace": key[1], "name": key[2], "created_at": 0, "etag": self.etag(key),
                "conditions": conditions}  # fmt: skip

    def parse(self, files: list[dict[str, str]]) -> tuple[dict[tuple[str, str, str], str], list[dict[str, Any]]]:
        found: dict[tuple[str, str, str], str] = {}
        violations = []
        for file in files:
            try:
                document = YAML(typ="rt").load(file["text"])
                kind, meta, spec = document["kind"], document["metadata"], document["spec"]
            except (YAMLError, KeyError, TypeError) as error:
                mark = getattr(error, "problem_mark", None)
                line = mark.line + 1 if mark else 1
                violations.append(violation(file["name"], line, "", "", "", f"not a rule: {str(error)[:80]}"))
                continue
            for field in spec:
                if field not in FIELDS.get(kind, set()):
                    line = spec.lc.data[field][0] + 1
                    text = f"unknown field {field!r}; {kind} has {', '.join(sorted(FIELDS.get(kind, set())))}"
                    violations.append(violation(file["name"], line, kind, meta["name"], f"spec.{field}", text))
            found[kind, meta.get("namespace", "default"), meta["name"]] = file["text"]
        return found, violations


def violation(file: str, line: int, kind: str, name: str, path: str, message: str) -> dict[str, Any]:
    return {"file": file, "line": line, "kind": kind, "namespace": "default", "name": name, "path": path,
            "message": message, "severity": "error"}  # fmt: skip


def application(folder: Path) -> FastAPI:
    app = FastAPI(openapi_url=None)
    rules = Rules(folder)

    def read_only() -> bool:
        return (folder / "read-only").exists()

    @app.middleware("http")
    async def authenticate(request: Request, call_next: Any) -> Any:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return JSONResponse({"detail": "no"}, 401)
        return await call_next(request)

    @app.post("/v1/apply")
    async def apply(request: Request) -> JSONResponse:
        body = await request.json()
        found, violations = rules.parse(body["files"])
        if violations:
            return JSONResponse({"violations": violations}, 422)
        if read_only():
            return JSONResponse({"error": "the console reads rules here"}, 403)
        if changed := rules.changed(body["expect"]):
            return JSONResponse({"violations": changed}, 409)
        changes = []
        for key, text in found.items():
            before = rules.stored.get(key)
            action = "created" if before is None else "unchanged" if before == text else "configured"
            changes.append({"action": action, "kind": key[0], "namespace": key[1], "name": key[2],
                            "before": before, "after": text, "etag": rules.etag(key)})  # fmt: skip
        if not body["dry_run"]:
            rules.stored |= found
            rules.version += 1
        return JSONResponse({"changes": changes, "warnings": [], "version": str(rules.version)})

    @app.post("/v1/delete")
    async def delete(request: Request) -> JSONResponse:
        body = await request.json()
        keys = [(one["kind"], one["namespace"], one["name"]) for one in body["resources"]]
        if missing := [key for key in keys if key not in rules.stored]:
            gone = [violation("", 0, key[0], key[2], "", "is not stored") for key in missing]
            return JSONResponse({"violations": gone}, 404)
        if changed := rules.changed(body["expect"]):
            return JSONResponse({"violations": changed}, 409)
        for key in keys:
            del rules.stored[key]
        rules.version += 1
        return JSONResponse(
            {"changes": [{"action": "deleted", "kind": k, "namespace": ns, "name": n} for k, ns, n in keys]}
        )

    @app.post("/v1/analyze")
    async def analyze(request: Request) -> JSONResponse:
        return JSONResponse({"violations": rules.parse((await request.json())["files"])[1]})

    @app.get("/v1/rules")
    async def summaries() -> JSONResponse:
        listed = [rules.summary(key) for key in sorted(rules.stored)]
        return JSONResponse({"rules": listed, "console_edits_rules": not read_only()})

    @app.get("/v1/resources/{kind}/{namespace}/{name}")
    async def one(kind: str, namespace: str, name: str) -> JSONResponse:
        key = kind, namespace, name
        if key not in rules.stored:
            return JSONResponse({"error": f"{kind} {namespace}/{name} is not stored"}, 404)
        return JSONResponse(rules.summary(key) | {"yaml": rules.stored[key], "document": {}})

    @app.get("/v1/resources/Workload")
    async def workloads() -> JSONResponse:
        listed = [
            {"kind": "Workload", "namespace": "default", "name": name, "yaml": "", "created_at": 0,
             "document": {"name": name, "service": re.sub(r"-v\d$", "", name)}}
            for name in PROXIES
        ]  # fmt: skip
        return JSONResponse({"resources": listed})

    @app.get("/v1/status")
    async def status(request: Request, connected: bool = False) -> JSONResponse:
        """With a file `replicas.json`, a list of HOST:PORT: every other proxy is connected at 127.0.0.1, the others at
        127.0.0.2, which go by the name of localhost alone."""
        rejected, file = folder / "reject", folder / "replicas.json"
        replicas = json.loads(file.read_bytes()) if file.exists() else []
        if replicas and not request.headers["host"].startswith("localhost:"):
            return JSONResponse({"error": "call it by its own name"}, 421)
        proxies = []
        for number, name in enumerate(PROXIES):
            if replicas and (number % 2 == 0) != (request.scope["server"][0] == "127.0.0.1"):
                if not connected:
                    proxies.append({
                        "workload": name, "namespace": "default", "node_id": f"sidecar~{name}.default",
                        "kind": "sidecar", "state": "disconnected", "connected_since": None,
                    })  # fmt: skip
                continue
            refuses = rejected.exists() and name == "reviews-v2"
            proxies.append({
                "workload": name, "namespace": "default", "node_id": f"sidecar~{name}.default",
                "kind": "gateway" if name == "ingress" else "sidecar", "connected": True, "connected_since": 1.0,
                "state": "rejected" if refuses else "synced", "version": str(rules.version),
                "sent_version": str(rules.version), "types": {},
                "rejections": [{"type": "RDS", "path": "virtual_hosts[0].routes[2].match",
                                "message": rejected.read_text(), "at": 0}] if refuses else [],
                "pushes": 3, "last_push_ms": 4.2,
            })  # fmt: skip
        return JSONResponse(
            {"version": str(rules.version), "root_expires_at": 0, "proxies": proxies, "replicas": replicas}
        )

    return app


class Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, folder: Path) -> None:
        super().__init__(config)
        self.folder = folder

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        port = self.servers[0].sockets[0].getsockname()[1]
        private = lambda path: os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)  # noqa: E731
        with os.fdopen(private(self.folder / "admin.token"), "w") as file:
            file.write(TOKEN)
        with os.fdopen(private(self.folder / "control.json"), "w") as file:
            json.dump({"rest": f"https://127.0.0.1:{port}", "ads": "", "csr": "", "pid": os.getpid()}, file)
        print("ready", flush=True)


if __name__ == "__main__":
    state = Path(sys.argv[1])
    pem = certificate(state)
    config = uvicorn.Config(application(state), log_level="error", ssl_certfile=str(pem))
    assert ssl.OPENSSL_VERSION
    first = socket.create_server(("127.0.0.1", 0))
    second = socket.create_server(("127.0.0.2", first.getsockname()[1]))
    Server(config, state).run(sockets=[first, second])
