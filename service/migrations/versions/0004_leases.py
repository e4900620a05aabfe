"""Leases: which control plane owns a running job, until when, and the epoch that fences those before it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "control_planes",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_control_planes")),
    )
    op.add_column("jobs", sa.Column("epoch", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("owner", sa.String(length=40), nullable=True))
    op.add_column("jobs", sa.Column("lease_until", sa.Double(), nullable=True))
    op.execute("UPDATE jobs SET owner = '', lease_until = 0 WHERE state = 'running'")  # by a release without leases


def downgrade() -> None:
    op.drop_column("jobs", "lease_until")
    op.drop_column("jobs", "owner")
    op.drop_column("jobs", "epoch")
    op.drop_table("control_planes")
