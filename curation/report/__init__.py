"""The report of a mix: its page, and the lines and the map of its tasks."""
