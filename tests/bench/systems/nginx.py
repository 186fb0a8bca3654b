"""nginx as a proxy: JSON access log, keep-alive to the upstream, mutual TLS between the hops."""

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
worker_processes 1;
daemon off;
pid {directory}/{name}.pid;
events {{ worker_connections 4096; }}
http {{
  log_format json escape=json '{{"time":"$time_iso8601","method":"$request_method","path":"$request_uri",'
    '"protocol":"$server_protocol","status":$status,"received":$request_length,"sent":$body_bytes_sent,'
    '"duration":$request_time,"upstream_time":"$upstream_response_time","user_agent":"$http_user_agent",'
    '"request_id":"$request_id","authority":"$http_host","upstream":"$upstream_addr","client":"$remote_addr"}}';
  access_log {directory}/{name}-access.log json buffer=64k flush=1s;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_body_temp_path {directory}/tmp; proxy_temp_path {directory}/tmp; fastcgi_temp_path {directory}/tmp;
  uwsgi_temp_path {directory}/tmp; scgi_temp_path {directory}/tmp;
  upstream next {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port}{listen_tls};
    {server_tls}
    location / {{
      proxy_pass {scheme}://next;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Request-Id $request_id;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      {client_tls}
    }}
  }}
}}
"""


class Nginx:
    """Debian's nginx, one worker."""

    name = "nginx"

    def missing(self) -> str | None:
        return None if shutil.which("nginx") else "apt-get install nginx"

    def version(self) -> str:
        return subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr.strip().split("/")[-1]

    def can(self, case: Case) -> bool:
        return case.speech is Speech.HTTP1

    @contextlib.contextmanager
    def running(self, case: Case, ground: Ground) -> Iterator[Running]:
        files = ground.certificates
        server_tls = (
            f"ssl_protocols TLSv1.3; ssl_session_tickets off; ssl_certificate {files.chain('server')};"
            f" ssl_certificate_key {files.key('server')};"
            f" ssl_client_certificate {files.root}; ssl_verify_client on;"
        )
        client_tls = (
            f"proxy_ssl_protocols TLSv1.3; proxy_ssl_certificate {files.chain('client')};"
            f" proxy_ssl_certificate_key {files.key('client')}; proxy_ssl_trusted_certificate {files.root};"
            f" proxy_ssl_verify on; proxy_ssl_name {dns_name('server')}; proxy_ssl_server_name on;"
        )
        first, second = free_port(), free_port()
        with contextlib.ExitStack() as stack:
            proxies: list[Process] = []

            def start(name: str, port: int, upstream: int, **parts: str) -> None:
                text = {"listen_tls": "", "server_tls": "", "client_tls": "", "scheme": "http", **parts}
                config = ground.directory / f"{name}.conf"
                config.write_text(
                    _CONFIG.format(directory=ground.directory, name=name, port=port, upstream=upstream, **text)
                )
                log = ground.directory / f"{name}.log"
                process = Process(
                    ["nginx", "-c", str(config), "-p", str(ground.directory), "-e", str(log)], core=PROXY_CORE, log=log
                )
                stack.callback(process.stop)
                process.wait_for_port(port)
                proxies.append(process)

            if case.hops == 1:
                start("nginx", first, ground.ports[case.speech])
            else:
                start("nginx-inbound", second, ground.ports[case.speech], listen_tls=" ssl", server_tls=server_tls)
                start("nginx-outbound", first, second, client_tls=client_tls, scheme="https")
            yield Running(Entry(first, _AUTHORITY), tuple(proxies))
