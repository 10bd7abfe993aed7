"""The selection experiment on a card: left out until the experiment itself exists.

It will train a small real base on data chosen by what the base gets wrong against data chosen at random, at ten times
the size that a CPU allows.
"""

from benchmarks.gpu.setting import arguments, lines_of


def main() -> None:
    """Says why there is nothing."""
    options = arguments(__doc__, part="selection").parse_args()
    lines_of(options).write(measured="selection", left_out="the selection experiment is not part of the project yet")


if __name__ == "__main__":
    main()
