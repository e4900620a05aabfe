"""What a running job holds and was asked to compute on, so that every control plane decides over all that run."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

COLUMNS = ("cpus_wanted", "cpus_held")


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("jobs", sa.Column(name, sa.Integer(), nullable=True))
    op.execute("UPDATE jobs SET cpus_wanted = workers, cpus_held = workers WHERE state = 'running'")


def downgrade() -> None:
    for name in COLUMNS:
        op.drop_column("jobs", name)
