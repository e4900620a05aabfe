"""Which data folder each control plane that is alive works in: a database belongs to one."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("control_planes", sa.Column("folder", sa.String(length=40), nullable=True))


def downgrade() -> None:
    op.drop_column("control_planes", "folder")
