"""The database, PostgreSQL, is stopped for five minutes.

Training goes on; a submit is told 503 with Retry-After; nothing that was acknowledged is lost.
"""

from chaos.outages import outage
from chaos.records import Finding
from chaos.run import Run
from chaos.service import running
from examples.postgresql import PostgreSQL

__all__ = ["measure"]


def measure(run: Run) -> Finding:
    with PostgreSQL(run.folder) as postgres, running(run, "--database-url", postgres.url) as service:
        return outage(service, postgres.away(), run.amount(300.0, quick=3.0))
