"""Quotas of tenants, how long jobs wait, and indexes of those that do."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

QUOTAS = ("running_jobs", "cpus", "queued_jobs", "stored_bytes", "submits_per_minute")
IF_IT_WAITS = "CASE WHEN state = 'queued' OR (state = 'paused' AND requested = 'resume') THEN 1 END"
WAITS = sa.text("waits IS NOT NULL")
IS_RESERVED = sa.text("reserved_at IS NOT NULL")
HAS_DEADLINE = sa.text("wait_until IS NOT NULL")
HAS_MODEL = sa.text("model_bytes > 0")

jobs = sa.table(
    "jobs", sa.column("state", sa.String), sa.column("plan", sa.JSON), sa.column("model_bytes", sa.BigInteger)
)


def upgrade() -> None:
    for name in QUOTAS:
        op.add_column("tenants", sa.Column(name, sa.BigInteger()))
    op.add_column("tenants", sa.Column("share", sa.Double()))
    op.add_column("tenants", sa.Column("served_at", sa.String(length=27)))
    op.add_column("jobs", sa.Column("wait_until", sa.String(length=27)))
    op.add_column("jobs", sa.Column("reserved_at", sa.String(length=27)))
    op.add_column("jobs", sa.Column("model_bytes", sa.BigInteger(), server_default="0", nullable=False))
    stored = op.get_bind().dialect.name == "postgresql"  # SQLite can add a computed column only where it is not
    op.add_column("jobs", sa.Column("waits", sa.Integer(), sa.Computed(IF_IT_WAITS, persisted=stored)))
    size = sa.case((jobs.c.plan["spec"]["dtype"].as_string() == "float64", 8), else_=4)
    of_model = jobs.c.plan["parameters"].as_integer() * size
    op.execute(sa.update(jobs).where(jobs.c.state.not_in(["failed", "cancelled"])).values(model_bytes=of_model))
    op.drop_index(op.f("ix_jobs_state_priority_number"), table_name="jobs")
    op.create_index(op.f("ix_jobs_state_tenant_number"), "jobs", ["state", "tenant", "number"])
    op.create_index(
        "ix_jobs_waiting",
        "jobs",
        ["tenant", sa.text("priority DESC"), "number", "cpus_min"],
        sqlite_where=WAITS,
        postgresql_where=WAITS,
    )
    op.create_index("ix_jobs_waiting_cpus", "jobs", ["cpus_min"], sqlite_where=WAITS, postgresql_where=WAITS)
    op.create_index(
        "ix_jobs_reserved_at", "jobs", ["reserved_at"], sqlite_where=IS_RESERVED, postgresql_where=IS_RESERVED
    )
    op.create_index(
        "ix_jobs_wait_until", "jobs", ["wait_until"], sqlite_where=HAS_DEADLINE, postgresql_where=HAS_DEADLINE
    )
    op.create_index(
        "ix_jobs_models", "jobs", ["tenant", "model_bytes"], sqlite_where=HAS_MODEL, postgresql_where=HAS_MODEL
    )


def downgrade() -> None:
    for name in ("models", "wait_until", "reserved_at", "waiting_cpus", "waiting"):
        op.drop_index(f"ix_jobs_{name}", table_name="jobs")
    op.drop_index(op.f("ix_jobs_state_tenant_number"), table_name="jobs")
    op.create_index(op.f("ix_jobs_state_priority_number"), "jobs", ["state", "priority", "number"])
    for name in ("waits", "model_bytes", "reserved_at", "wait_until"):
        op.drop_column("jobs", name)
    for name in ("served_at", "share", *QUOTAS):
        op.drop_column("tenants", name)
