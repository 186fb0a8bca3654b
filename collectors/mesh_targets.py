"""The list of targets as the control plane streams it, kept as STATE/targets.json: for a collector that shares no state
directory with the control plane. Who is scraped and who may say what is read from that file in either case.

After a restart, and while the control plane is away, the last list is what there is.
"""

import asyncio
import logging
import random
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import BytesValue
from prometheus_client import CollectorRegistry, Counter, Gauge

from collectors.identity import CONTROL_NAME, Identity
from collectors.receivers.targets import MAX_FILE_BYTES, parse_targets
from mesh.clock import Clock
from mesh.files import write_atomic

_log = logging.getLogger("remora.targets")

FULL_METHOD = "/remora.mesh.v1.Targets/Watch"
FIRST_LIST_S = 30.0
"""A control plane that says nothing for this long is asked again."""
MIN_RETRY_S = 0.5
MAX_RETRY_S = 30.0
LASTED_S = 60.0
"""A stream that was up this long ended for a reason of its own: the next is not held back."""
_OPTIONS = (
    ("grpc.ssl_target_name_override", CONTROL_NAME),
    ("grpc.enable_retries", 0),
    # A control plane that vanished is noticed within 40 s; it allows a question every 10 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", MAX_FILE_BYTES + 64),
    # A connection of its own each time: a broken one is not waited for.
    ("grpc.use_local_subchannel_pool", 1),
)


class FollowedTargets:
    """`run` for ever."""

    def __init__(
        self,
        address: str,
        identity: Identity,
        path: Path,
        registry: CollectorRegistry,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        """`address`: HOST:PORT of the control plane's ADS port."""
        self._address = address
        self._identity = identity
        self._path = path
        self._clock = clock
        self._rng = rng
        self._known: bytes | None = None
        self._away = False
        self._following = Gauge(
            "remora_collector_targets_following", "1 while the control plane tells of its targets.", registry=registry
        )
        self._lists = Counter(
            "remora_collector_targets_lists", "Lists of targets from the control plane, by outcome.",
            ("outcome",), registry=registry,
        )  # fmt: skip

    async def run(self) -> None:
        """Follow, and come again. That the control plane is away is said once, and once that it is back."""
        failures = 0
        while True:
            began = self._clock.monotonic()
            try:
                await self._follow()
            except (grpc.aio.AioRpcError, TimeoutError, OSError) as error:
                self._say_away(error)
            # Else our certificate had come to its end; there is another.
            finally:
                self._following.set(0)
            failures = 1 if self._clock.monotonic() - began > LASTED_S else failures + 1
            most_s = min(MIN_RETRY_S * 2.0 ** min(failures, 10), MAX_RETRY_S)
            await asyncio.sleep(self._rng.uniform(MIN_RETRY_S / 2, most_s))

    async def _follow(self) -> None:
        """One stream, until its end. Raises AioRpcError, TimeoutError, OSError."""
        held = self._identity.credentials
        tls = grpc.ssl_channel_credentials(held.roots_pem, held.key_pem, held.chain_pem)
        async with grpc.aio.secure_channel(self._address, tls, options=_OPTIONS) as channel:
            watch: Any = channel.unary_stream  # without serializers: bytes, which its types do not know
            call = watch(FULL_METHOD)(b"")
            async with asyncio.timeout(FIRST_LIST_S):
                message = await call.read()
            while message:  # EOF is false
                self._following.set(1)
                if self._away:
                    _log.info("the control plane tells of its targets again")
                self._away = False
                await self._take(message)
                message = await call.read()

    async def _take(self, message: bytes) -> None:
        """Write what is new. What is no list, or cannot be written, leaves the file as it is."""
        try:
            data = BytesValue.FromString(message).value
            written = await asyncio.to_thread(self._write, data)
        except (DecodeError, ValueError) as error:
            self._lists.labels("refused").inc()
            _log.error("the control plane's list of targets is not taken, that of before stays: %s", error)
        except OSError as error:
            self._lists.labels("failed").inc()
            _log.error("cannot write %s: %s", self._path, error)
            raise  # and asked for again: the next list may be long in coming
        else:
            self._lists.labels("written" if written else "same").inc()

    def _write(self, data: bytes) -> bool:
        """Whether it was another. Raises ValueError, OSError."""
        if self._known is None and self._path.is_file():
            self._known = self._path.read_bytes()
        if data == self._known:
            return False
        parse_targets(data.decode("utf-8"))
        write_atomic(self._path, data)
        self._known = data
        return True

    def _say_away(self, error: Exception) -> None:
        if self._away:
            return
        self._away = True
        said = f"{error.code().name}: {error.details()}" if isinstance(error, grpc.aio.AioRpcError) else str(error)
        _log.warning(
            "the control plane at %s does not tell of its targets, those of before stay: %s",
            self._address,
            said or f"nothing came within {FIRST_LIST_S:g} s",
        )
