"""How long each job's plan is: it counts for what a tenant has stored, and for how many jobs a page shows."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

HAS_MODEL = sa.text("model_bytes > 0")

jobs = sa.table("jobs", sa.column("plan", sa.Text), sa.column("plan_bytes", sa.BigInteger))


def upgrade() -> None:
    op.add_column("jobs", sa.Column("plan_bytes", sa.BigInteger(), server_default="0", nullable=False))
    op.execute(sa.update(jobs).values(plan_bytes=sa.func.length(sa.cast(jobs.c.plan, sa.Text))))
    op.drop_index("ix_jobs_models", table_name="jobs")
    op.create_index("ix_jobs_stored", "jobs", ["tenant", "model_bytes", "plan_bytes"])


def downgrade() -> None:
    op.drop_index("ix_jobs_stored", table_name="jobs")
    op.create_index(
        "ix_jobs_models", "jobs", ["tenant", "model_bytes"], sqlite_where=HAS_MODEL, postgresql_where=HAS_MODEL
    )
    op.drop_column("jobs", "plan_bytes")
