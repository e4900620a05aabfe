"""One training job on Ray.

Importing this package sets up BLAS for the process, which must happen before numpy is first imported.
"""

from workers.blas import prepare_process

prepare_process()
