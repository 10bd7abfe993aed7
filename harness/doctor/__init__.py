"""Checks whether this machine is ready for a run; each problem comes with its mend."""
