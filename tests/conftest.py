"""Set-up of all tests."""

import os

from hypothesis import HealthCheck, settings

from tests.browser import chromium, opened  # noqa: F401  (one browser for the whole session, so imported only here)

# Threads that wait for each other sleep instead of spinning: on a busy machine the suite is then three times as fast.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# How long an example takes says more about the machine than about the code.
settings.register_profile("circlet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("circlet")
