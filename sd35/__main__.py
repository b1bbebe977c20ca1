"""`python -m sd35`: the terminal program."""

import sys

try:
    from sd35.cli.app import main

    main()
except KeyboardInterrupt:
    # Ctrl+C while modules are being imported; from then on the commands handle signals.
    sys.exit(130)
