"""The control plane's REST interface, as the command uses it. Every refusal becomes a Failure with the reason."""

import json
import ssl
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from mesh.files import read_private
from remora.documents import Document
from remora.failure import Failure, NoMesh
from remora.state import State

TIMEOUT_S = 60.0
"""For one answer. Ten thousand rules take seconds to check."""


def violation_text(violation: Mapping[str, Any]) -> str:
    """`file:line: kind/name: field.path: what is wrong`, without the parts that are not known; for a stored rule, which
    is in no file, `kind namespace/name: field.path: what is wrong`."""
    where = str(violation.get("file") or "")
    if where and violation.get("line"):
        where += f":{violation['line']}"
    kind, name, namespace = violation.get("kind"), violation.get("name"), violation.get("namespace")
    between = "/" if where or not namespace else f" {namespace}/"
    what = f"{kind or '?'}{between}{name or '?'}" if kind or name else ""
    severity = "warning" if violation.get("severity") == "warning" else ""
    parts = (where, what, str(violation.get("path") or ""), severity, str(violation.get("message") or ""))
    return ": ".join(part for part in parts if part)


class Invalid(Failure):
    """Rules were refused; `violations` says where and why."""

    def __init__(self, violations: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(*(violation_text(each) for each in violations))
        self.violations = violations


class Control:
    """A connection to the control plane of the mesh whose state is here. May be used from several threads."""

    def __init__(self, state: State) -> None:
        """Raises NoMesh when no control plane has run here, Failure when its files can not be read."""
        rest = str(state.read_control().get("rest", ""))
        self._state = state
        try:
            trust = ssl.create_default_context(cafile=str(state.root))
            token = read_private(state.admin_token).decode().strip()
        except OSError as error:
            raise Failure(f"cannot read the mesh's state {state.directory}: {error}") from error
        self._http = httpx.Client(
            base_url=rest,
            verify=trust,
            headers={"authorization": f"Bearer {token}"},
            timeout=TIMEOUT_S,
            trust_env=False,  # HTTP_PROXY is for applications in the mesh, never for its control plane
        )

    def __enter__(self) -> "Control":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def apply(self, documents: Iterable[Document], *, dry_run: bool = False) -> dict[str, Any]:
        """Store rules, all or none. Raises Invalid."""
        return self._post("/v1/apply", {"files": [each.plain() for each in documents], "dry_run": dry_run})

    def delete(self, documents: Iterable[Document], *, dry_run: bool = False) -> dict[str, Any]:
        """Remove the rules that `documents` name, all or none. Raises Invalid."""
        return self._post("/v1/delete", {"files": [each.plain() for each in documents], "dry_run": dry_run})

    def delete_named(self, kind: str, namespace: str, names: Sequence[str], *, dry_run: bool = False) -> dict[str, Any]:
        """Remove rules by name, all or none. Raises Invalid."""
        resources = [{"kind": kind, "namespace": namespace, "name": name} for name in names]
        return self._post("/v1/delete", {"resources": resources, "dry_run": dry_run})

    def analyze(self, documents: Iterable[Document]) -> list[dict[str, Any]]:
        """What is wrong with `documents` beside what is stored; with the stored rules where there are none."""
        violations: list[dict[str, Any]] = self._post("/v1/analyze", {"files": [each.plain() for each in documents]})[
            "violations"
        ]
        return violations

    def resources(self, kind: str, namespace: str | None) -> list[dict[str, Any]]:
        """Stored resources of a kind."""
        query = {"namespace": namespace} if namespace else {}
        found: list[dict[str, Any]] = self._get(f"/v1/resources/{quote(kind, safe='')}", query)["resources"]
        return found

    def resource(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        """One stored resource."""
        return self._get("/v1/resources/" + "/".join(quote(each, safe="") for each in (kind, namespace, name)))

    def status(self) -> dict[str, Any]:
        """Who is connected, and what each one runs."""
        return self._get("/v1/status")

    def config(self, namespace: str, workload: str, what: str) -> dict[str, Any]:
        """The xDS resources generated for a workload."""
        return self._get("/v1/config/" + "/".join(quote(each, safe="") for each in (namespace, workload, what)))

    def register(self, workload: Mapping[str, Any]) -> dict[str, Any]:
        """Make a workload known; the answer has the token that its sidecar starts with."""
        return self._post("/v1/workloads", workload)

    def deregister(self, namespace: str, name: str) -> None:
        """Forget a workload."""
        self._send("DELETE", "/v1/workloads/" + "/".join(quote(each, safe="") for each in (namespace, name)))

    def token(self, namespace: str, service_account: str) -> dict[str, Any]:
        """A token for a component that is no workload."""
        return self._post("/v1/tokens", {"namespace": namespace, "service_account": service_account})

    def _get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = self._send("GET", path, query=query).json()
        return answer

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._send("POST", path, body=json.dumps(body).encode()).json()
        return answer

    def _send(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> httpx.Response:
        headers = {"content-type": "application/json"} if body is not None else {}
        try:
            response = self._http.request(method, path, params=query, content=body, headers=headers)
        except httpx.ConnectError as error:
            raise NoMesh(
                f"the control plane of {self._state.directory} does not answer ({error}): is `remora up` running?"
            ) from error
        except httpx.TimeoutException as error:
            raise Failure(f"the control plane took longer than {TIMEOUT_S:.0f} s to answer {method} {path}") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Failure(f"the control plane's answer to {method} {path} broke off: {error}") from error
        if response.is_success:
            return response
        raise _refusal(method, path, response)


def _refusal(method: str, path: str, response: httpx.Response) -> Failure:
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        violations = answer.get("violations")
        if isinstance(violations, list) and violations:
            return Invalid(violations)
        reason = answer.get("error") or answer.get("detail")
        if reason:
            return Failure(str(reason))
    return Failure(f"the control plane answered {method} {path} with status {response.status_code}")
