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
    run, merge = request.run, request.merge
    if not run.is_dir():
        raise ExportError(f"{run}: no such folder. Give a run.")
    if request.to == "adapter" and merge:
        raise ExportError(f"`to=adapter` with `merge={merge}`: give one of them. `merge=` writes merged weights.")
    if request.to == "merged":
        merge = merge or "bf16"
    command = f"oneday export {run.name}{f' --merge {merge}' if merge else ''}"
    began = time.monotonic()
    with locked(run):
        exported = export(
            Export(
                run=run,
                merge=merge,
                base=request.base,
                base_changed=request.base_changed_on_purpose,
                check=request.check,
            ),
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
        console.say(f"loaded by transformers and PEFT, {described(exported.measured)}")
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
