"""Time of `oneday --help` against an empty Python program. Prints one JSON line: medians of 9 interleaved runs."""

import json
import statistics
import subprocess
import sys
import time

COMMANDS = {"python": ["-c", "pass"], "oneday_help": ["-m", "oneday.cli", "--help"]}


def main() -> None:
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(9):
        for name, arguments in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - start)
    print(json.dumps({"median_s": {name: round(statistics.median(v), 3) for name, v in seconds.items()}}))


if __name__ == "__main__":
    main()
