"""`axiom`, also as `python -m engine`."""

from engine.cli.app import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
