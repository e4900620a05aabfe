"""`chainrule`, also as `python -m chainrule`: Ctrl-C ends it without a stack trace while it still loads, too."""

import sys

__all__ = ["main"]


def main() -> None:
    """The entry point."""
    try:
        from chainrule.cli import app

        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
