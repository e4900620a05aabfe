"""What is long has a table of its own, so that who changes or looks at the rest neither writes nor reads it."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
SIZES = ("profile_bytes", "table_bytes", "size_bytes")
NUMBERED = {"sqlite_autoincrement": True}
OF_PLAN = ("epochs", "steps_per_epoch")

jobs = sa.table(
    "jobs", sa.column("number"), sa.column("plan", sa.JSON), *(sa.column(name, sa.BigInteger) for name in OF_PLAN)
)
datasets = sa.table("datasets", sa.column("columns", sa.Text), sa.column("profile_bytes", sa.BigInteger))
deliveries = sa.table(
    "deliveries",
    *(sa.column(name) for name in ("id", "payload_id", "payload_bytes")),
    sa.column("payload", sa.Text),
)
payloads = sa.table("payloads", sa.column("id"), sa.column("payload", sa.Text))
plans = sa.table("plans", sa.column("job_number"), sa.column("plan", sa.JSON))


def upgrade() -> None:
    op.create_table(
        "plans",
        sa.Column("job_number", Number, autoincrement=False, nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["job_number"], ["jobs.number"], name=op.f("fk_plans_job_number"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_number", name=op.f("pk_plans")),
    )
    op.execute(sa.insert(plans).from_select(["job_number", "plan"], sa.select(jobs.c.number, jobs.c.plan)))
    for name in OF_PLAN:
        op.add_column("jobs", sa.Column(name, sa.BigInteger(), server_default="1", nullable=False))
    told = {
        "epochs": jobs.c.plan["spec"]["epochs"].as_integer(),
        "steps_per_epoch": jobs.c.plan["steps_per_epoch"].as_integer(),
    }
    op.execute(sa.update(jobs).values(told))
    op.drop_column("jobs", "plan")
    op.add_column("datasets", sa.Column("profile_bytes", sa.BigInteger(), server_default="0", nullable=False))
    op.execute(sa.update(datasets).values(profile_bytes=sa.func.length(sa.cast(datasets.c.columns, sa.Text))))
    op.create_index("ix_datasets_sizes", "datasets", ["tenant", "number", *SIZES])
    op.create_table(
        "payloads",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payloads")),
    )
    op.execute(sa.insert(payloads).from_select(["id", "payload"], sa.select(deliveries.c.id, deliveries.c.payload)))
    with op.batch_alter_table("deliveries", table_kwargs=NUMBERED) as table:
        table.add_column(sa.Column("payload_id", sa.String(length=40), nullable=True))
        table.add_column(sa.Column("payload_bytes", sa.Integer(), nullable=True))
    op.execute(
        sa.update(deliveries).values(payload_id=deliveries.c.id, payload_bytes=sa.func.length(deliveries.c.payload))
    )
    with op.batch_alter_table("deliveries", table_kwargs=NUMBERED) as table:
        table.alter_column("payload_id", existing_type=sa.String(length=40), nullable=False)
        table.alter_column("payload_bytes", existing_type=sa.Integer(), nullable=False)
        table.drop_column("payload")
        table.create_foreign_key(op.f("fk_deliveries_payload_id"), "payloads", ["payload_id"], ["id"])
    op.create_index(op.f("ix_deliveries_payload_id"), "deliveries", ["payload_id"])


def downgrade() -> None:
    op.add_column("deliveries", sa.Column("payload", sa.Text(), server_default="{}", nullable=False))
    of_delivery = sa.select(payloads.c.payload).where(payloads.c.id == deliveries.c.payload_id).scalar_subquery()
    op.execute(sa.update(deliveries).values(payload=of_delivery))
    op.drop_index(op.f("ix_deliveries_payload_id"), table_name="deliveries")
    with op.batch_alter_table("deliveries", table_kwargs=NUMBERED) as table:
        table.drop_constraint(op.f("fk_deliveries_payload_id"), type_="foreignkey")
        table.drop_column("payload_bytes")
        table.drop_column("payload_id")
    op.drop_table("payloads")
    op.drop_index("ix_datasets_sizes", table_name="datasets")
    op.drop_column("datasets", "profile_bytes")
    op.add_column("jobs", sa.Column("plan", sa.JSON(), server_default="{}", nullable=False))
    of_job = sa.select(plans.c.plan).where(plans.c.job_number == jobs.c.number).scalar_subquery()
    op.execute(sa.update(jobs).values(plan=of_job))
    for name in OF_PLAN:
        op.drop_column("jobs", name)
    op.drop_table("plans")
