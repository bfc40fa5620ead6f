"""``python -m passmuster`` is the command `muster`."""

from passmuster.cli.app import main

main()
