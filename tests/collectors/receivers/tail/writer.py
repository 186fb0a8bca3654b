"""A program that logs, for tests: `python writer.py PATH rename|copy SECONDS RATE ROTATE-EVERY`. It writes numbered CRI
lines to PATH, RATE a second, and rotates the file itself after each ROTATE-EVERY lines, so that no line of its own is
written between copying and truncating. Prints how many lines it wrote and in how many seconds."""

import os
import shutil
import sys
import time


def main(path: str, way: str, seconds: float, rate: int, every: int) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    fd = os.open(path, flags, 0o644)
    number = rotated = 0
    begin = time.monotonic()
    while (elapsed := time.monotonic() - begin) < seconds:
        due = min(int(elapsed * rate), rate * int(seconds))
        while number < due:
            # A piece now and then ends within a line, as with any writer that buffers.
            stop = min(due, number + 50, (rotated + 1) * every)
            now = time.time()
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
            data = "".join(
                f"{stamp}.{int(now % 1 * 1e9):09d}Z stdout F line {one} {'x' * (one % 80)}\n"
                for one in range(number, stop)
            ).encode()
            half = len(data) // 2
            os.write(fd, data[:half])
            os.write(fd, data[half:])
            number = stop
            if number == (rotated + 1) * every:
                rotated += 1
                if way == "rename":
                    os.rename(path, f"{path}.{rotated}")
                    os.close(fd)
                    fd = os.open(path, flags, 0o644)
                else:
                    shutil.copyfile(path, f"{path}.{rotated}")
                    os.ftruncate(fd, 0)
        time.sleep(0.002)
    os.close(fd)
    print(number, time.monotonic() - begin, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
