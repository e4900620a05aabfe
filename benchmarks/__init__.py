"""Benchmarks: how fast Chainrule trains through its real service, and other libraries beside it in the same run.

Importing this package sets up BLAS as for a process of a job, which must happen before numpy is first imported.
"""

import workers  # noqa: F401
