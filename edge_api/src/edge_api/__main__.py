"""`python -m edge_api` is `edge-api`."""

import sys

from edge_api.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
