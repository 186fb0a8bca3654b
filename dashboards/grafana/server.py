"""A Grafana over its HTTP API, by grafana-client. What goes wrong becomes one of few errors; no redirect is followed,
so that a token goes nowhere but where the user said.

https://grafana.com/docs/grafana/latest/developers/http_api/
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import requests
from grafana_client import GrafanaApi
from grafana_client.client import GrafanaClientError, GrafanaException, GrafanaServerError

Json = dict[str, Any]


class GrafanaError(Exception):
    """Grafana did not do it; the text says why, without the token."""


class Precondition(GrafanaError):
    """Somebody else was there first: 409, 412."""


class BadAddress(ValueError):
    """Not the address of a Grafana."""


class Grafana:
    """Close it."""

    def __init__(self, url: str, token: str | None, *, ca_file: str | None = None, timeout_s: float = 30.0) -> None:
        """Raises BadAddress."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadAddress(f"{url}: wanted http://HOST:PORT or https://HOST[/PATH]")
        if parts.username or parts.password:
            raise BadAddress("no user and password in the address, where others see them: a token in a file")
        if parts.query or parts.fragment:
            raise BadAddress(f"{url}: an address ends with its path")
        self.url = url.rstrip("/")
        prefix = parts.path.strip("/")
        self._api = GrafanaApi(
            token,
            host=f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname,
            port=parts.port,
            url_path_prefix=f"{prefix}/" if prefix else "",
            protocol=parts.scheme,
            verify=ca_file or True,
            timeout=timeout_s,
            user_agent="remora",
        )
        session = self._api.client.s
        session.max_redirects = 0
        # A Grafana of the mesh is never behind the proxy that the environment names for the internet.
        session.trust_env = False

    def version(self) -> str:
        """What it says it is; also whether it is there and lets us in."""
        found = self._find(self._api.health.check)
        if found is None or "database" not in found:
            raise GrafanaError(f"{self.url} does not answer as a Grafana does: no /api/health")
        return str(found.get("version", "unknown"))

    def folder(self, uid: str) -> Json | None:
        """None: there is none."""
        return self._find(lambda: self._api.folder.get_folder(uid))

    def create_folder(self, title: str, uid: str) -> None:
        """Raises Precondition if one of that name or uid is there."""
        self._ask(lambda: self._api.folder.create_folder(title, uid))

    def dashboard(self, uid: str) -> Json | None:
        """`dashboard` and `meta`. None: there is none."""
        return self._find(lambda: self._api.dashboard.get_dashboard(uid))

    def messages(self, uid: str) -> list[str]:
        """What was said when each version of a dashboard was saved, the newest first."""
        try:
            found = self._ask(lambda: self._api.dashboard_versions.get_dashboard_versions(dashboard_uid=uid))
        except _Missing:
            return []
        # Grafana 11.5 and later answer with an object that can be continued.
        listed = found.get("versions", []) if isinstance(found, dict) else found
        return [str(each.get("message") or "") for each in sorted(listed, key=lambda each: -int(each["version"]))]

    def save_dashboard(self, content: Json, folder_uid: str, message: str, *, overwrite: bool) -> None:
        """Raises Precondition if it is another version than `content` says, or its name is taken."""
        body = {"dashboard": content, "folderUid": folder_uid, "message": message, "overwrite": overwrite}
        self._ask(lambda: self._api.dashboard.update_dashboard(body))

    def data_source(self, uid: str) -> Json | None:
        """None: there is none."""
        return self._find(lambda: self._api.datasource.get_datasource_by_uid(uid))

    def create_data_source(self, payload: Json) -> None:
        """Raises Precondition if its name is taken."""
        self._ask(lambda: self._api.datasource.create_datasource(payload))

    def update_data_source(self, uid: str, payload: Json) -> None:
        """Raises Precondition if it is another version than `payload` says."""
        self._ask(lambda: self._api.datasource.update_datasource_by_uid(uid, payload))

    def close(self) -> None:
        """Give up its connections."""
        self._api.client.s.close()

    def _find(self, call: Callable[[], Any]) -> Json | None:
        try:
            found = self._ask(call)
        except _Missing:
            return None
        if not isinstance(found, dict):
            raise GrafanaError(f"{self.url} does not answer as a Grafana does")
        return found

    def _ask(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except GrafanaException as error:
            raise self._told(error) from error
        except requests.TooManyRedirects as error:
            where = error.response.headers.get("Location", "?") if error.response is not None else "?"
            raise GrafanaError(f"{self.url} leads to {where}: give that address") from error
        except requests.exceptions.SSLError as error:
            raise GrafanaError(f"{self.url}: its certificate is not to be trusted: --ca-file ({error})") from error
        except requests.Timeout as error:
            raise GrafanaError(f"{self.url} does not answer") from error
        except ValueError as error:  # JSONDecodeError, of requests or of json
            raise GrafanaError(f"{self.url} does not answer as a Grafana does: {error}") from error
        except requests.RequestException as error:
            raise GrafanaError(f"cannot reach {self.url}: {_root(error)}") from error

    def _told(self, error: GrafanaException) -> GrafanaError:
        status, said = error.status_code, _words(error.response)
        match status:
            case 404:
                return _Missing(said)
            case 409 | 412:
                return Precondition(said)
            case 401:
                return GrafanaError(
                    f"{self.url} does not know the token (401): --token-file with a service account's token"
                )
            case 403:
                wanted = "the token's account needs the role Editor, for data sources Admin"
                return GrafanaError(f"{self.url} forbids it (403: {said}): {wanted}")
            case _ if isinstance(error, GrafanaServerError | GrafanaClientError):
                return GrafanaError(f"{self.url} answers {status}: {said}")
            case _:
                return GrafanaError(f"{self.url}: {error.message}")


class _Missing(GrafanaError):
    """404."""


def _words(response: object) -> str:
    if isinstance(response, dict):
        status = response.get("status")
        said = str(response.get("message") or response)
        return f"{said} ({status})" if isinstance(status, str) else said
    return " ".join(str(response).split())[:200]


def _root(error: BaseException) -> BaseException:
    """What is at the bottom of requests' and urllib3's wrapping."""
    seen: BaseException = error
    while (inner := seen.__cause__ or seen.__context__) is not None:
        seen = inner
    return seen
