"""llama.cpp, reached through llama-cpp-python in an environment of its own.

    LLAMA_CPP.install(Path(".llama"))
    measure(prompts, ..., other=LlamaCpp(environment=Path(".llama"), gguf=file))

llama-cpp-python compiles llama.cpp for minutes when it is installed, and its environment has neither torch nor
transformers: what reads the file is another program in every respect.

Where it sits: GGUF -> **comparison** -> model card.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from submission.environment import Program, tool
from submission.errors import ExportError
from submission.export.other_program import NEW_TOKENS, Answers, Prompts

LLAMA_CPP = Program(
    name="llama.cpp",
    requirements=Path(__file__).parent / "requirements.txt",
    check=("python", "-c", "import llama_cpp"),
    error=ExportError,
    variables={"CMAKE_ARGS": "-DLLAVA_BUILD=OFF", "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1)},
)

_SCRIPT = Path(__file__).parent / "ask.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaCpp:
    """Loads a GGUF file, on the CPU unless llama.cpp was compiled for a GPU."""

    environment: Path
    gguf: Path
    name: str = "llama.cpp"

    def answers(self, prompts: Prompts, texts: Sequence[str | None]) -> Answers:
        """See `OtherProgram`.

        Raises:
            ExportError: llama.cpp does not load the file.
        """
        pairs = zip(texts, prompts, strict=True)
        asked = [{"ids": list(ids)} if text is None else {"text": text} for text, ids in pairs]
        with tempfile.TemporaryDirectory() as folder:
            questions, answers = Path(folder, "questions.json"), Path(folder, "answers.npz")
            whole = {"model": str(self.gguf), "new_tokens": NEW_TOKENS, "prompts": asked}
            questions.write_text(json.dumps(whole), encoding="utf-8")
            self._run(questions, answers)
            with np.load(answers) as found:
                return Answers(
                    ids=[found[f"ids_{n}"].tolist() for n in range(len(asked))],
                    logits=[torch.from_numpy(found[f"logits_{n}"]) for n in range(len(asked))],
                    texts=[found[f"text_{n}"].tobytes().decode(errors="replace") for n in range(len(asked))],
                )

    def _run(self, questions: Path, answers: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        command = [str(tool(self.environment, "python")), str(_SCRIPT), str(questions), str(answers)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=kept)
        if done.returncode:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            raise ExportError(
                f"{self.gguf}: llama.cpp does not load it ({(lines or ['no output'])[-1][:300]}). Nothing was "
                "exported; export `to=merged`."
            )
