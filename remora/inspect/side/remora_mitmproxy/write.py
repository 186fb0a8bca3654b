"""Tapped requests on standard input, mitmproxy's flow file on standard output, as they come.

`python -m remora_mitmproxy.write`. Exit status 0 at the end of the input; 1 for what is no tapped request.
"""

import json
import signal
import sys

from mitmproxy.io import FlowWriter

from .flows import to_flow


def main() -> int:
    # Ctrl-C is for whoever feeds us: the end of the input is our end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    writer = FlowWriter(sys.stdout.buffer)
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            flow = to_flow(json.loads(line))
        except (LookupError, TypeError, ValueError) as error:
            print(f"line {number} is no tapped request: {error}", file=sys.stderr)
            return 1
        writer.add(flow)
        sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
