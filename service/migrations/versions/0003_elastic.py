"""When a lost job is tried again, how often it was out of memory, and for whom it gave way."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("out_of_memory", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("retry_at", sa.String(length=27), nullable=True))
    op.add_column("jobs", sa.Column("preempted_by", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "preempted_by")
    op.drop_column("jobs", "retry_at")
    op.drop_column("jobs", "out_of_memory")
