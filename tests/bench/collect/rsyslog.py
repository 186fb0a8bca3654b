"""rsyslog with omelasticsearch: lines of JSON over TCP in, bulk requests out, as its manual has it for such a load.

Its input knows no acknowledgement, and its queue is in memory here, or on disk and synced: only the second survives
what our buffer survives. A queue that is full drops, after two seconds, what comes next; here it waits, which its input
hands on to who sends, so that as many records arrive as were sent.
"""

import shutil
import socket
from pathlib import Path

from tests.bench.processes import Process

_CONFIGURATION = """\
global(workDirectory="{directory}" maxMessageSize="64k")
module(load="imptcp")
module(load="omelasticsearch")
input(type="imptcp" address="127.0.0.1" port="{port}" ruleset="out")
template(name="record" type="list") {{ property(name="rawmsg") }}
template(name="index" type="string" string="rsyslog-bench")
ruleset(name="out") {{
  action(type="omelasticsearch" server="127.0.0.1" serverport="{elasticsearch}" template="record"
         searchIndex="index" dynSearchIndex="on" searchType="" bulkmode="on" errorFile="{directory}/errors"
         queue.dequeuebatchsize="2000" queue.workerThreads="2" queue.timeoutEnqueue="3600000"
         action.resumeRetryCount="-1" {queue})
}}
"""
_MEMORY = 'queue.type="LinkedList" queue.size="100000"'
_DISK = (
    'queue.type="Disk" queue.filename="bench" queue.maxDiskSpace="4g" queue.syncQueueFiles="on" '
    'queue.checkpointInterval="2000"'
)


def missing() -> str:
    """Why it cannot be run here, with the command that mends it; empty if it can."""
    if shutil.which("rsyslogd") is None or not any(Path("/usr/lib").glob("*/rsyslog/omelasticsearch.so")):
        return "rsyslog is not installed: apt-get install rsyslog rsyslog-elasticsearch"
    return ""


class Rsyslog:
    """Serves when it is made."""

    def __init__(self, directory: Path, port: int, elasticsearch: int, core: int, *, on_disk: bool) -> None:
        """Raises Failed."""
        configuration = directory / "rsyslog.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                directory=directory, port=port, elasticsearch=elasticsearch, queue=_DISK if on_disk else _MEMORY
            )
        )
        self.process = Process(
            ["rsyslogd", "-n", "-f", str(configuration), "-i", str(directory / "pid")],
            core=core,
            log=directory / "rsyslog.log",
        )
        self.process.wait_for_port(port)


def send(port: int, lines: bytes, times: int, within_s: float) -> None:
    """Write `lines` to it over and over. Raises TimeoutError if it does not take them once in `within_s`."""
    with socket.create_connection(("127.0.0.1", port), within_s) as connection:
        for _ in range(times):
            connection.sendall(lines)
