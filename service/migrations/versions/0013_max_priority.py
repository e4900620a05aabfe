"""The highest priority that a tenant's jobs may be submitted with."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tenants", sa.Column("max_priority", sa.BigInteger()))


def downgrade() -> None:
    op.drop_column("tenants", "max_priority")
