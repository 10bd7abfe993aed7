"""One self-contained folder that an organiser builds and runs: code, pinned requirements, checkpoint and base."""
