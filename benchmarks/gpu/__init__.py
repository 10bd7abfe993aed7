"""Speed and memory of the 24-hour recipes on a real card; every script also runs, tiny, on a CPU."""
