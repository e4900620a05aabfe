"""Tenants, their keys, and what a key opens for a browser; all that was there belongs to the tenant `default`."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NUMBERED = {"sqlite_autoincrement": True}


def upgrade() -> None:
    op.create_table(
        "tenants",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_tenants")),
    )
    op.execute("INSERT INTO tenants VALUES ('default', '1970-01-01T00:00:00.000000Z')")
    op.create_table(
        "keys",
        sa.Column("number", Number, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scope", sa.String(length=10), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.Column("expires_at", sa.String(length=27), nullable=True),
        sa.Column("revoked_at", sa.String(length=27), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_keys")),
        sa.UniqueConstraint("id", name=op.f("uq_keys_id")),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.name"], name=op.f("fk_keys_tenant")),
        sqlite_autoincrement=True,
    )
    for name in ("sessions", "signin_codes"):
        op.create_table(
            name,
            sa.Column("sha256", sa.String(length=64), nullable=False),
            sa.Column("key_number", Number, nullable=False),
            sa.Column("expires_at", sa.String(length=27), nullable=False),
            sa.PrimaryKeyConstraint("sha256", name=op.f(f"pk_{name}")),
            sa.ForeignKeyConstraint(["key_number"], ["keys.number"], name=op.f(f"fk_{name}_key_number")),
        )
    op.add_column("jobs", _tenant())
    op.create_index(op.f("ix_jobs_tenant_number"), "jobs", ["tenant", "number"], unique=False)
    # SQLite makes these three tables anew, which no foreign key leads to.
    with op.batch_alter_table("datasets", table_kwargs=NUMBERED) as table:
        table.add_column(_tenant())
        table.drop_constraint(op.f("uq_datasets_name_version"), type_="unique")
        table.create_unique_constraint(op.f("uq_datasets_tenant_name_version"), ["tenant", "name", "version"])
    with op.batch_alter_table("dataset_names") as table:
        table.add_column(_tenant())
        table.drop_constraint(op.f("pk_dataset_names"), type_="primary")
        table.create_primary_key(op.f("pk_dataset_names"), ["tenant", "name"])
    with op.batch_alter_table("idempotency_keys") as table:
        table.add_column(_tenant())
        table.drop_constraint(op.f("pk_idempotency_keys"), type_="primary")
        table.create_primary_key(op.f("pk_idempotency_keys"), ["tenant", "key"])


def _tenant() -> sa.Column[str]:
    return sa.Column("tenant", sa.String(length=63), server_default="default", nullable=False)


def downgrade() -> None:
    """Works as long as no two tenants have a name or a key in common."""
    with op.batch_alter_table("idempotency_keys") as table:
        table.drop_constraint(op.f("pk_idempotency_keys"), type_="primary")
        table.create_primary_key(op.f("pk_idempotency_keys"), ["key"])
        table.drop_column("tenant")
    with op.batch_alter_table("dataset_names") as table:
        table.drop_constraint(op.f("pk_dataset_names"), type_="primary")
        table.create_primary_key(op.f("pk_dataset_names"), ["name"])
        table.drop_column("tenant")
    with op.batch_alter_table("datasets", table_kwargs=NUMBERED) as table:
        table.drop_constraint(op.f("uq_datasets_tenant_name_version"), type_="unique")
        table.create_unique_constraint(op.f("uq_datasets_name_version"), ["name", "version"])
        table.drop_column("tenant")
    op.drop_index(op.f("ix_jobs_tenant_number"), table_name="jobs")
    op.drop_column("jobs", "tenant")
    for name in ("signin_codes", "sessions", "keys", "tenants"):
        op.drop_table(name)
