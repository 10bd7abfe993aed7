"""Is this machine ready for a run? One finding a line, each with its mend."""
