"""`python -m terminal_app.run.service`."""

import sys

from terminal_app.run.service import main

sys.exit(main())
