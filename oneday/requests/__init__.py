"""The options of each command: one frozen dataclass per command, one field per option."""
