"""``python -m passmuster`` is the command `muster`."""


def main() -> None:
    """Run the command. Stopped while it is still being loaded, it ends as quietly as later."""
    try:
        from passmuster.cli.app import main as run
    except KeyboardInterrupt:
        raise SystemExit(130) from None  # the shell's exit code of Ctrl-C; nothing was begun
    run()


if __name__ == "__main__":
    main()
