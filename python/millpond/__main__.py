"""``python -m millpond`` is ``millpond``."""

from millpond.cli import main

if __name__ == "__main__":
    main()
