"""Set-up of all tests."""

import os

from hypothesis import settings

# Threads that wait for each other sleep instead of spinning: on a busy machine the suite is then three times as fast.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# How long an example takes says more about the machine than about the code.
settings.register_profile("circlet", deadline=None)
settings.load_profile("circlet")
