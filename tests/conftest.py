"""Set-up of all tests."""

import os

# Threads that wait for each other sleep instead of spinning: on a busy machine the suite is then three times as fast.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
