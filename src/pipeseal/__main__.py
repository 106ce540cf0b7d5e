"""`python -m pipeseal`."""

from pipeseal.cli import main

main()
