"""`python -m sd35`: pictures from a terminal."""

import sys

try:
    from sd35.cli.app import main

    main()
except KeyboardInterrupt:  # in the first moment, before the program listens itself
    sys.exit(130)
