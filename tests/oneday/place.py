"""Builds the inputs of the error tests, wrong or right, in a temporary folder."""

import http.server
import json
import re
import shutil
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oneday.demo.demo import DEMO_BASE, RECIPE
from submission.score.ranks import COLUMNS
from tests.conftest import write_small_mix

ROOT = Path(__file__).parents[2]
TASKS = ROOT / "tests" / "data" / "tasks"
OTHERS = "open-platypus,openbookqa,quac,cnn_dailymail,mathinstruct"
WITHOUT = f"--without=lima,{OTHERS}"

PREDICTION = {"task": "t", "id": "1", "references": ["a"], "prediction": "b"}
TASK = {"Definition": ["Say it."], "Instances": [{"id": "1", "input": "a", "output": ["b"]}]}
ROW = {"instruction": "Say it.", "input": "a", "output": "b"}
LONG = "x" * 5_000
HUGE = "1" + "0" * 30
OBJECTS = '{"a":' * 600 + "1" + "}" * 600
"""Nesting that orjson can read, but that neither orjson nor Python's reader can write or traverse."""


class Place:
    """Builds the files of a case. Building the same file twice returns the same path."""

    def __init__(self, path: Path, finished: Path) -> None:
        self.path, self._finished = path, finished
        self._listener: socket.socket | None = None
        self._server: http.server.ThreadingHTTPServer | None = None

    def file(self, name: str, content: str | bytes = "x") -> Path:
        """Writes a file and replaces an existing one."""
        path = self.path / name
        if path.is_symlink() or path.is_file():
            path.unlink()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        return path

    def lines(self, name: str, *rows: object) -> Path:
        """Writes JSON lines; a string is written unchanged."""
        return self.file(name, "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))

    def folder(self, name: str) -> Path:
        path = self.path / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def without(self, name: str) -> Path:
        """Removes a file or folder and returns its path."""
        path = self.path / name
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        return path

    def loop(self, name: str) -> Path:
        """Creates a symbolic link to itself."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(path)
        return path

    def busy_port(self) -> int:
        """Returns a port on which another socket listens."""
        self._listener = self._listener or socket.create_server(("127.0.0.1", 0))
        return int(self._listener.getsockname()[1])

    def freed_port(self) -> int:
        """Returns the former busy port after its socket was closed."""
        port = self.busy_port()
        self.close()
        return port

    def completions(self) -> str:
        """Returns the address of an OpenAI-compatible server that always answers the same word."""
        self._server = self._server or http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Completions)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        """Closes sockets and servers."""
        if self._listener is not None:
            self._listener.close()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def tasks(self, **files: object) -> Path:
        """Copies the test tasks, and writes `files` (name -> content) beside them."""
        folder = self.path / "tasks"
        if not folder.is_dir():
            shutil.copytree(TASKS, folder)
        for name, content in files.items():
            text = content if isinstance(content, str | bytes) else json.dumps(content)
            self.file(f"tasks/{name}.json", text)
        return folder

    def predictions(self) -> Path:
        """Writes predictions for every instance of the test tasks."""
        rows = [PREDICTION | {"task": "task1_even_or_odd", "id": f"task1-{n}", "references": ["x"]} for n in range(12)]
        return self.lines("predictions.jsonl", *rows)

    def base(self, **files: str | bytes | None) -> Path:
        """Copies the demo base, with files replaced (`config_json=...`) or, by None, removed."""
        folder = self.path / "base"
        if not folder.is_dir():
            shutil.copytree(DEMO_BASE, folder)
        for key, content in files.items():
            name = f"base/{re.sub('_(?=json$|safetensors$)', '.', key)}"
            self.without(name) if content is None else self.file(name, content)
        return folder

    def mix(self, **files: str) -> Path:
        """Writes a small mix, with `train` or `validation` replaced."""
        folder = self.path / "05_mix"
        if not folder.is_dir():
            write_small_mix(folder)
        for name, content in files.items():
            self.file(f"05_mix/{name}.jsonl", content)
        return folder

    def run(self, name: str = "run") -> Path:
        """Returns a copy of a finished run."""
        folder = self.path / name
        if not folder.is_dir():
            shutil.copytree(self._finished, folder, symlinks=True)
        return folder

    def damaged(self, name: str, content: str | bytes = "{") -> Path:
        """Returns the run with other content in one file."""
        self.run()
        self.file(f"run/{name}", content)
        return self.path / "run"

    def restored(self, name: str) -> Path:
        """Returns the run with a file restored."""
        self.without(f"run/{name}")
        shutil.copy(self._finished / name, self.path / "run" / name)
        return self.path / "run"

    def changed(self, name: str, **values: object) -> Path:
        """Returns the run with other values in a JSON file: `a__b` names a nested key, Ellipsis removes one."""
        self.run()
        document: Any = json.loads((self.path / "run" / name).read_text())
        for key, value in values.items():
            *way, last = key.split("__")
            inner = document
            for step in way:
                inner = inner[step]
            inner.pop(last) if value is ... else inner.update({last: value})
        return self.damaged(name, json.dumps(document))

    def recipe(self, lines: str | bytes = "", *, instead_of: str = "-") -> Path:
        """Writes the CPU recipe with `lines` added and without the key `instead_of`."""
        text = re.sub(rf"(?m)^{instead_of}:.*\n", "", RECIPE.read_text()).encode()
        return self.file("recipe.yml", text + (lines if isinstance(lines, bytes) else lines.encode()))

    def table(self, name: str = "table.json", **b: object) -> Path:
        """Writes a table of two submissions, with columns of the second replaced or, by Ellipsis, left out."""
        row: Mapping[str, object] = dict.fromkeys(COLUMNS, 0.5)
        other = {key: value for key, value in {**row, **b}.items() if value is not ...}
        return self.file(name, json.dumps([["a", row], ["b", other]]))


class _Completions(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._reply({"data": [{"id": "small"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._reply({"choices": [{"text": " even"}]})

    def _reply(self, answer: object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keeps the server silent."""
