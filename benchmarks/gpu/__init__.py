"""Speed and memory of the 24-hour recipes on a GPU. With `--tiny` every script also runs on a CPU."""
