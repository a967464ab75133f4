"""Entry point: `python src/millrace <command> <task>`."""

import sys
from pathlib import Path

# Started as a folder, Python puts src/millrace on the path. What belongs there is src of this very checkout: an
# installed copy would make queued experiments run the workspace's code instead of their own.
sys.path[0] = str(Path(__file__).resolve().parent.parent)
# Lightning starts further processes as `python -m <name of this spec>`; without one it repeats the command line.
sys.modules["__main__"].__spec__ = None

from millrace.cli import main  # noqa: E402  # the path has to be set first

if __name__ == "__main__":
    sys.exit(main())
