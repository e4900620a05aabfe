"""How long each data set's table is: what it takes of the disk, whatever its upload took."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("datasets", sa.Column("table_bytes", sa.BigInteger()))


def downgrade() -> None:
    op.drop_column("datasets", "table_bytes")
