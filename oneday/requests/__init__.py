"""The options of each command: a frozen dataclass for a command, a field for an option."""
