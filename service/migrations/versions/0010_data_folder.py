"""Whose data folder the database belongs to: that of the first service that starts on it."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "data_folder",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_folder")),
    )


def downgrade() -> None:
    op.drop_table("data_folder")
