"""The one JSON line that a benchmark of the real model prints.

print_result("python -m benchmarks.real.asking --base BASE ...", result=report(state))
"""

import datetime
import json
import os


def print_result(command: str, **found: object) -> None:
    """Prints what was found, with the command, the date and the machine."""
    machine = f"{os.cpu_count()} CPU cores, load {os.getloadavg()[0]:.1f} when reported"
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    print(json.dumps({"command": command, "date": date, "machine": machine, **found}))
