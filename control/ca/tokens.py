"""Bootstrap tokens: how a workload proves who it is before it has a certificate.

A token is 32 random bytes. On disk is only its SHA-256 with what it stands for, one file a token, mode 0600. The first
key that a token is used with is bound to it: the same key may ask again (its answer may have been lost), another never.
"""

import asyncio
import hashlib
import hmac
import json
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from control.ca.errors import BrokenAuthority, Unauthenticated
from mesh.files import NotPrivate, read_private, sync_directory, write_atomic
from mesh.spiffe import InvalidSpiffeId, SpiffeId

LIFETIME_S = 3600.0
MAX_TOKENS = 100_000
"""More than this many stored tokens are refused: someone is registering in a loop."""

_MAX_TOKEN_CHARACTERS = 128


class TooManyTokens(Exception):
    """The administrator issues tokens faster than they expire."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token stands for."""

    digest: str
    """SHA-256 of the token, hex; its file's name."""
    identity: SpiffeId
    workload: str | None
    """`NAMESPACE/NAME`; None for a component of the mesh."""
    expires_at: float
    key: str | None = None
    """SHA-256 of the public key that used it first, hex."""


class Tokens:
    """Every grant, in memory and on disk alike. One process owns the directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._grants: dict[str, Grant] = {}
        self._unsaved: set[str] = set()

    def load(self, now: float) -> None:
        """Read the directory; what has expired is removed. Raises BrokenAuthority, OSError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._directory.glob("*.json"):
            grant = _read(path)
            self._grants[grant.digest] = grant
        self.prune(now)

    def issue(self, identity: SpiffeId, workload: str | None, now: float) -> str:
        """A new token. A workload's earlier ones are revoked. Raises OSError, TooManyTokens."""
        self.prune(now)
        if len(self._grants) >= MAX_TOKENS:
            raise TooManyTokens(f"{len(self._grants)} tokens are stored")
        token = secrets.token_urlsafe(32)
        grant = Grant(_digest(token), identity, workload, now + LIFETIME_S)
        self._store(grant)
        if workload is not None:
            self.revoke(workload, but=grant.digest)
        return token

    def find(self, token: str, now: float) -> Grant:
        """What the token stands for. Raises Unauthenticated."""
        digest = _digest(token) if len(token) <= _MAX_TOKEN_CHARACTERS else ""
        grant = self._grants.get(digest)
        # The lookup is by hash: its timing tells nothing that helps to guess a token.
        if grant is None or not hmac.compare_digest(grant.digest, digest):
            raise Unauthenticated("unknown token")
        if now >= grant.expires_at:
            raise Unauthenticated(f"expired token of {grant.identity}")
        return grant

    async def bind(self, digest: str, key_sha256: str) -> None:
        """Bind a token to the key that it is used with; on disk when this returns. Raises Unauthenticated, OSError."""
        grant = self._grants.get(digest)
        if grant is None:
            raise Unauthenticated("token revoked meanwhile")
        if grant.key is None:
            # In memory at once, so that a second key that comes while the disk works is refused.
            grant = self._grants[digest] = replace(grant, key=key_sha256)
            self._unsaved.add(digest)
        elif not hmac.compare_digest(grant.key, key_sha256):
            raise Unauthenticated(f"token of {grant.identity} used again with another key")
        if digest in self._unsaved:
            await asyncio.to_thread(self._write, grant)
            self._unsaved.discard(digest)
            if digest not in self._grants:
                self._path(grant).unlink(missing_ok=True)
                raise Unauthenticated("token revoked meanwhile")

    def revoke(self, workload: str, *, but: str | None = None) -> None:
        """Remove a workload's tokens. Raises OSError."""
        for grant in [g for g in self._grants.values() if g.workload == workload and g.digest != but]:
            self._remove(grant)

    def prune(self, now: float) -> None:
        """Remove what has expired; of each component the newest stays, as the record that it may renew."""
        newest: dict[SpiffeId, Grant] = {}
        for grant in self._grants.values():
            if grant.workload is None:
                known = newest.get(grant.identity)
                if known is None or grant.expires_at > known.expires_at:
                    newest[grant.identity] = grant
        for grant in [g for g in self._grants.values() if now >= g.expires_at]:
            if newest.get(grant.identity) is not grant:
                self._remove(grant)

    def is_component(self, identity: SpiffeId) -> bool:
        """Whether a token was ever given out for this component of the mesh."""
        return any(grant.workload is None and grant.identity == identity for grant in self._grants.values())

    def __len__(self) -> int:
        return len(self._grants)

    def _store(self, grant: Grant) -> None:
        self._write(grant)
        self._grants[grant.digest] = grant

    def _write(self, grant: Grant) -> None:
        record = {**asdict(grant), "identity": str(grant.identity)}
        write_atomic(self._path(grant), json.dumps(record).encode(), mode=0o600)

    def _remove(self, grant: Grant) -> None:
        self._path(grant).unlink(missing_ok=True)
        sync_directory(self._directory)
        del self._grants[grant.digest]

    def _path(self, grant: Grant) -> Path:
        return self._directory / f"{grant.digest}.json"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _read(path: Path) -> Grant:
    try:
        record = json.loads(read_private(path))
        grant = Grant(
            digest=record["digest"],
            identity=SpiffeId.parse(record["identity"]),
            workload=record["workload"],
            expires_at=float(record["expires_at"]),
            key=record["key"],
        )
    except NotPrivate as error:
        raise BrokenAuthority(str(error)) from error
    except (ValueError, TypeError, KeyError, InvalidSpiffeId) as error:
        raise BrokenAuthority(f"{path} is no token record; remove it and register its workload again") from error
    if f"{grant.digest}.json" != path.name:
        raise BrokenAuthority(f"{path} is not named after its digest; remove it")
    return grant
