"""`python -m circlet`, the same as `circlet`; what torchrun calls."""

import sys

from circlet.cli import main

sys.exit(main())
