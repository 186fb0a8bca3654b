"""HAProxy as a proxy: JSON access log on standard output, connections reused, mutual TLS between the hops."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator

from tests.bench.cases import PROXY_CORE, Case, Speech
from tests.bench.certificates import dns_name
from tests.bench.ground import Ground
from tests.bench.load import Entry
from tests.bench.processes import Process, free_port
from tests.bench.systems.system import Running

_AUTHORITY = "echo.bench.svc.cluster.local:8080"
_CONFIG = """\
global
  nbthread 1
  maxconn 4096
  log stdout format raw local0
  ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets
  ssl-default-server-options ssl-min-ver TLSv1.3
defaults
  mode {mode}
  log global
  timeout connect 5s
  timeout client 600s
  timeout server 600s
{defaults}
frontend entry
  bind 127.0.0.1:{port}{bind}
{frontend}
  default_backend next
backend next
  server one 127.0.0.1:{upstream}{server}
"""
_HTTP_DEFAULTS = """\
  timeout http-keep-alive 600s
  http-reuse always
  unique-id-format %[uuid()]
  log-format '{"time":"%T","request":"%[capture.req.method] %[capture.req.uri]","status":%ST,"received":%U,"sent":%B,\
"duration":%Ta,"upstream_time":%Tr,"flags":"%ts","request_id":"%ID","upstream":"%si:%sp","client":"%ci:%cp",\
"captured":"%hr"}'
"""
_HTTP_FRONTEND = """\
  declare capture request len 128
  http-request capture req.hdr(user-agent) len 128
  http-request set-header x-request-id %[unique-id]
  option forwardfor
"""
_TCP_DEFAULTS = """\
  log-format '{"time":"%T","received":%U,"sent":%B,"duration":%Tt,"flags":"%ts","upstream":"%si:%sp",\
"client":"%ci:%cp"}'
"""


class Haproxy:
    """Debian's HAProxy, one thread."""

    name = "haproxy"

    def missing(self) -> str | None:
        return None if shutil.which("haproxy") else "apt-get install haproxy"

    def version(self) -> str:
        return subprocess.run(["haproxy", "-v"], capture_output=True, text=True, check=True).stdout.split()[2]

    def can(self, case: Case) -> bool:
        return True

    @contextlib.contextmanager
    def running(self, case: Case, ground: Ground) -> Iterator[Running]:
        files = ground.certificates
        http2 = case.speech.http2
        bind_tls = f" ssl crt {files.both('server')} ca-file {files.root} verify required{' alpn h2' if http2 else ''}"
        server_tls = (
            f" ssl crt {files.both('client')} ca-file {files.root} verify required sni str({dns_name('server')})"
            f" verifyhost {dns_name('server')}{' alpn h2' if http2 else ''}"
        )
        plain = " proto h2" if http2 else ""
        upstream = ground.ports[case.speech]
        first, second = free_port(), free_port()
        with contextlib.ExitStack() as stack:

            def start(name: str, port: int, upstream: int, bind: str, server: str) -> Process:
                config = ground.directory / f"{name}.cfg"
                config.write_text(_render(case.speech, port, upstream, bind, server))
                process = Process(["haproxy", "-f", str(config)], core=PROXY_CORE, log=ground.directory / f"{name}.log")
                stack.callback(process.stop)
                process.wait_for_port(port)
                return process

            if case.hops == 1:
                proxies = [start("haproxy", first, upstream, plain, plain)]
            else:
                proxies = [
                    start("haproxy-inbound", second, upstream, bind_tls, plain),
                    start("haproxy-outbound", first, second, plain, server_tls),
                ]
            yield Running(Entry(first, _AUTHORITY), tuple(proxies))


def _render(speech: Speech, port: int, upstream: int, bind: str, server: str) -> str:
    parts = ("http", _HTTP_DEFAULTS, _HTTP_FRONTEND) if speech.requests else ("tcp", _TCP_DEFAULTS, "")
    mode, defaults, frontend = parts
    return _CONFIG.format(
        mode=mode, defaults=defaults, frontend=frontend, port=port, upstream=upstream, bind=bind, server=server
    )
