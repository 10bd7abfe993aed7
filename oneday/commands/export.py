"""`oneday export`: writes a run's adapter or merged weights as files for others."""

import time
from dataclasses import asdict
from pathlib import Path

from core.stage import locked
from harness.ledger.ledger import Ledger
from harness.run import LEDGER
from oneday.display.console import Console
from oneday.requests.submission import ExportRequest
from submission.errors import ExportError
from submission.export.export import Export, export
from submission.export.other_program import described


def run_export(request: ExportRequest, console: Console) -> None:
    """Exports, shows how well merged weights agree with base and adapter, and uploads on request."""
    run = request.run
    if not run.is_dir():
        raise ExportError(f"{run}: no such folder. Give a run.")
    wanted = _wanted(request)
    command = " ".join(["oneday export", run.name, *_options(wanted)])
    began = time.monotonic()
    with locked(run):
        exported = export(
            wanted,
            command=command,
            on_progress=lambda done, total: console.progress("weights merged", done, total),
        )
        if (run / LEDGER).is_file():
            Ledger.of_run(run / LEDGER).note_not_charged("export", time.monotonic() - began)
    agreement = exported.agreement
    if agreement:
        console.say(
            f"compared with base and adapter at {agreement.num_positions:,} positions: largest difference of a logit "
            f"{agreement.largest_difference:.2g}, same most likely token at {agreement.top_1:.2%}"
        )
    if exported.measured:
        console.say(f"loaded by {exported.program}, {described(exported.measured)}")
    for note in exported.notes:
        console.say(f"warning: {note}")
    console.say(f"exported: {exported.folder} (README.md is its model card)")
    if request.push:
        push_to_hub(exported.folder, request.push)
        console.say(f"uploaded to {request.push}")
    console.result(
        {
            "folder": str(exported.folder),
            "agreement": asdict(agreement) if agreement else None,
            "measured": asdict(exported.measured) if exported.measured else None,
        }
    )


def _wanted(request: ExportRequest) -> Export:
    """The export that the options describe.

    Raises:
        ExportError: two options contradict each other.
    """
    to = request.to or ("merged" if request.merge else "adapter")
    if request.merge and to != "merged":
        raise ExportError(f"`to={to}` with `merge={request.merge}`: give one of them. `merge=` writes merged weights.")
    if request.gguf_type and to not in ("gguf", "ollama"):
        raise ExportError(f"`gguf_type={request.gguf_type}` is for `to=gguf` and `to=ollama`. Leave it out.")
    return Export(
        run=request.run,
        to=to,
        merge=request.merge or "bf16",
        gguf=request.gguf_type or "f16",
        llama=request.environment,
        base=request.base,
        base_changed=request.base_changed_on_purpose,
        check=request.check,
    )


def _options(wanted: Export) -> list[str]:
    """The options that lead to this export, for the model card."""
    if wanted.to == "adapter":
        return []
    if wanted.to == "merged":
        return ["--merge", wanted.merge]
    return ["--to", wanted.to, *(["--gguf-type", wanted.gguf] if wanted.gguf != "f16" else [])]


def push_to_hub(folder: Path, repository: str) -> None:
    """Uploads a folder; creates the repository as a private one if it does not exist.

    Raises:
        ExportError: The network fails, access is denied, or the name is invalid.
    """
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    try:
        HfApi().create_repo(repository, private=True, exist_ok=True)
        HfApi().upload_folder(folder_path=folder, repo_id=repository)
    except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, httpx.HTTPError, OSError) as e:
        reason = (str(e) or type(e).__name__).splitlines()[0][:200]
        raise ExportError(f"`push={repository}`: {reason}. `hf auth login`, check the name and the network.") from e
