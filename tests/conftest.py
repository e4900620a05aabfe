"""What holds for all tests."""

import os

# Ray gives its processes a niceness of 15: beside the suite's other process, which is always busy, jobs would have a
# thirtieth of a core, and tests that train would take many times as long.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  (Ray's name)
