"""`python -m oneday.cli`."""

from oneday.cli.main import main

main()
