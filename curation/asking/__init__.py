"""Which instances the base is asked: rounds, until a time is up or nothing more is needed."""
