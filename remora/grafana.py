"""Pushing to Grafana for whoever wants it of the command: what goes wrong becomes a Failure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mesh.files import NotPrivate, read_token
from remora.failure import Failure

if TYPE_CHECKING:
    from dashboards.grafana.datasources import Sources
    from dashboards.grafana.push import Result


@dataclass(frozen=True, slots=True)
class Target:
    """A Grafana, and how it lets us in."""

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None


def push_all(target: Target, sources: "Sources", folder: str, *, overwrite: bool) -> "Sequence[Result]":
    """Folder, dashboards and data sources. Raises Failure."""
    try:
        from dashboards.grafana.server import BadAddress, Grafana, GrafanaError
    except ModuleNotFoundError as error:
        raise Failure(f"{error.name} is not installed: pip install 'remora[grafana]'") from error
    from dashboards.grafana.files import committed
    from dashboards.grafana.folder import BadFolder, Folder
    from dashboards.grafana.push import push

    if target.ca_file is not None and not target.ca_file.is_file():
        raise Failure(f"--ca-file {target.ca_file}: there is no such file")
    try:
        ca_file = None if target.ca_file is None else str(target.ca_file)
        grafana = Grafana(target.url, _token(target.token_file), ca_file=ca_file)
    except BadAddress as error:
        raise Failure(f"--grafana: {error}") from error
    try:
        grafana.version()  # whoever is no Grafana gets nothing of ours
        return list(push(grafana, Folder(folder), list(committed().values()), sources.payloads(), overwrite=overwrite))
    except BadFolder as error:
        raise Failure(f"--folder: {error}") from error
    except GrafanaError as error:
        raise Failure(f"Grafana: {error}") from error
    finally:
        grafana.close()


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        token = read_token(path).decode("ascii").strip()
    except NotPrivate as error:
        raise Failure(f"--token-file: {error}") from error
    except OSError as error:
        raise Failure(f"--token-file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Failure(f"--token-file {path}: this is no token") from error
    if not token or any(character.isspace() for character in token):
        raise Failure(f"--token-file {path}: this is no token")
    return token
