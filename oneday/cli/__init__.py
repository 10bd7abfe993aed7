"""The console command `oneday`."""

from oneday.cli.app import app
from oneday.cli.main import main

__all__ = ["app", "main"]
