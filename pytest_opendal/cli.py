"""The command ``pytest-opendal``."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command."""
    return 0


if __name__ == "__main__":
    sys.exit(main())
