"""`oneday package`: writes the folder of a submission for organisers."""

from core.stage import locked
from oneday.display.console import Console
from oneday.requests.submission import PackageRequest
from submission.errors import PackageError
from submission.package.package import Package, package


def run_package(request: PackageRequest, console: Console) -> None:
    """Writes the folder, and says how to build and run it."""
    if not request.run.is_dir():
        raise PackageError(f"{request.run}: no such folder. Give a run.")
    wanted = Package(
        run=request.run,
        out=request.out,
        weights=request.weights,
        base=request.base,
        base_changed=request.base_changed_on_purpose,
    )
    with locked(request.run):
        packaged = package(wanted, on_file=lambda name: console.say(f"base model: {name}"))
    console.say(
        f"packaged: {packaged.folder} ({packaged.size_bytes / 2**20:,.0f} MiB, {packaged.num_requirements} pinned "
        "requirements)"
    )
    console.say(f"build and run it: docker build -t oneday-submission {packaged.folder}; its README.md shows the rest")
    console.result(
        {
            "folder": str(packaged.folder),
            "num_requirements": packaged.num_requirements,
            "size_bytes": packaged.size_bytes,
        }
    )
