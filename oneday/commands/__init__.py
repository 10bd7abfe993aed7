"""What each command does: options -> a job of the packages -> tables and a JSON line."""
