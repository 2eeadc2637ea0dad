"""``python -m dexter_tui`` is the command ``dexter-tui``."""

import sys

from dexter_tui.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
