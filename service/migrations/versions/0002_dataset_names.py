"""The highest version that each name of a data set ever had."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "dataset_names",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("last_version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_dataset_names")),
    )
    op.execute("INSERT INTO dataset_names SELECT name, max(version) FROM datasets GROUP BY name")


def downgrade() -> None:
    op.drop_table("dataset_names")
