"""Placeholder for the selection experiment on a GPU, which is left out until the experiment exists.

The experiment will train a small real base on rows that the base gets wrong and on random rows, at ten times the size
that a CPU allows.
"""

from benchmarks.gpu.setting import arguments, lines_of


def main() -> None:
    """Writes a line that says why the part is left out."""
    options = arguments(__doc__, part="selection").parse_args()
    lines_of(options).write(measured="selection", left_out="the selection experiment is not part of the project yet")


if __name__ == "__main__":
    main()
