"""An application in a pod, as a program of its own: `python pod_application.py PORT CONFIGURATION`.

It calls another service when it starts, serves, and when it is told to end, ends what is under way, then calls the
other service again and again, each time on a new connection, before it exits. It writes what happens as lines of JSON
with the monotonic time, which all processes of a machine share. It knows of no proxy.

Configuration (JSON): `call` (host:port and path), `calls_at_end`, `every_s`, `exit`, `run_s` (it ends by itself after
so long: a Job), `deaf` (it passes SIGTERM over, and calls every `run_s`).
"""

import http.client
import json
import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_saying = threading.Lock()


def say(event: str, **facts: Any) -> None:
    with _saying:
        os.write(1, (json.dumps({"at": time.monotonic(), "event": event, **facts}) + "\n").encode())


def call(configuration: dict[str, Any], when: str) -> None:
    where, path = configuration["call"]
    connection = http.client.HTTPConnection(where, timeout=10)
    try:
        connection.request("GET", path, headers={"connection": "close"})
        answer = connection.getresponse()
        say("called", when=when, status=answer.status, body=answer.read().decode())
    except OSError as error:
        say("called", when=when, status=0, body=f"{type(error).__name__}: {error}")
    finally:
        connection.close()


class Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    address_family = socket.AF_INET


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path, _, seconds = self.path.partition("?")
        if path == "/slow":
            say("slow began")
            time.sleep(float(seconds))
        elif path == "/prestop":
            say("prestop")
        status = 418 if path == "/teapot" else 200
        body = f"{path} {self.headers.get('user-agent', '')} {self.client_address[0]}".encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        if path == "/slow":
            self.send_header("connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def main() -> int:
    port, configuration = int(sys.argv[1]), json.loads(sys.argv[2])
    say("started")
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: say("told") if configuration.get("deaf") else ending.set())
    if configuration.get("call"):
        call(configuration, "start")
    server = Server(("0.0.0.0", port), Handler)
    Handler.timeout = 1.0  # connections that nobody uses do not keep it
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    say("serving")
    while not ending.wait(configuration.get("run_s")) and configuration.get("deaf"):
        call(configuration, "deaf")
    say("ending")
    server.shutdown()
    server.server_close()  # after what is under way
    thread.join()
    say("closed")
    for _ in range(configuration.get("calls_at_end", 0)):
        time.sleep(configuration.get("every_s", 0.0))
        call(configuration, "end")
    say("exits")
    return int(configuration.get("exit", 0))


if __name__ == "__main__":
    sys.exit(main())
