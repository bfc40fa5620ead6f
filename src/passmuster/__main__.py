"""``python -m passmuster`` is the command `muster`."""

from passmuster.cli.app import main

if __name__ == "__main__":
    main()
