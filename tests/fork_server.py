"""Imports Axolotl once, then forks a child for each line of standard input: {config, log, exit_file, env}.

It prints `ready` when it can fork, and then the process id of each child. The child runs Axolotl's training command in
a session of its own. A process between the child and the server waits for it and writes its exit code.
"""

import gc
import json
import os
import sys
import traceback
from pathlib import Path


def run_child(request: dict) -> int:
    os.environ.update(request["env"])
    descriptor = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    code = 0
    try:
        from axolotl.cli.train import do_cli

        do_cli(request["config"])
    except SystemExit as e:
        code = int(e.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def serve(answers: int) -> None:
    for line in sys.stdin:
        request = json.loads(line)
        read_end, write_end = os.pipe()
        reaper = os.fork()
        if reaper == 0:
            child = os.fork()
            if child == 0:
                os.setsid()
                os._exit(run_child(request))
            os.write(write_end, str(child).encode())
            os.close(write_end)
            _, status = os.waitpid(child, 0)
            temporary = Path(request["exit_file"] + ".tmp")
            temporary.write_text(str(os.waitstatus_to_exitcode(status)))
            temporary.rename(request["exit_file"])
            os._exit(0)
        os.close(write_end)
        os.write(answers, os.read(read_end, 32) + b"\n")
        os.close(read_end)


def main() -> None:
    answers = os.dup(1)
    os.dup2(2, 1)  # keeps the libraries' output at import out of the answers
    import transformers.models.mistral.modeling_mistral  # noqa: F401

    sys.argv = sys.argv[:1]
    gc.collect()
    gc.freeze()
    os.write(answers, b"ready\n")
    serve(answers)


if __name__ == "__main__":
    main()
