"""When each event happened, and how much of what an attempt tells has been taken in."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("events", sa.Column("at", sa.String(length=27), nullable=True))
    op.add_column("jobs", sa.Column("last_report", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("jobs", "last_report")
    op.drop_column("events", "at")
