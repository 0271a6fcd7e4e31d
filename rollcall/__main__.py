"""Entry point of `python -m rollcall`."""

from rollcall.cli import main

main()
