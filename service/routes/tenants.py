"""Tenants: what each may have, and what it has."""

from operator import attrgetter

from fastapi import APIRouter

from service.auth import Admin, Reader
from service.control import ControlPlane
from service.examples import QUOTA
from service.field_errors import validated
from service.json_body import JsonBody
from service.openapi import errors, json_body
from service.quota_views import Limits, OwnQuota, QuotaRequest, Tenant, TenantPage, Used
from service.routes.parameters import TENANT, Control, Cursor, Limit, TenantName
from service.tenants import TenantRow
from service.views import name_of, page_of

router = APIRouter(prefix="/v1", tags=["tenants"])


@router.get("/quota", responses=errors(422, 503))
def get_quota(who: Reader, control: Control) -> OwnQuota:
    """Show what one's own tenant may have, and what it has."""
    limits = Limits.of(control.tenants.quota_of(who.tenant))
    return OwnQuota(tenant=who.tenant, limits=limits, usage=Used.of(control.tenants.usage(who.tenant)))


@router.get("/tenants", responses=errors(422, 503))
def list_tenants(_who: Admin, control: Control, limit: Limit = 50, cursor: Cursor = None) -> TenantPage:
    """List all tenants by name, with their quotas."""
    rows = control.tenants.list(name_of(cursor, TENANT), limit + 1)
    page, next_cursor = page_of(rows, limit, attrgetter("name"))
    usages = control.tenants.usages([row.name for row in page])
    items = [Tenant.of(row, control.tenants.in_effect(row), usages[row.name]) for row in page]
    return TenantPage(items=items, next_cursor=next_cursor)


@router.get("/tenants/{tenant}", responses=errors(404, 422, 503))
def get_tenant(tenant: TenantName, _who: Admin, control: Control) -> Tenant:
    """Show a tenant with its quota."""
    return _shown(control, control.tenants.get(tenant))


@router.put(
    "/tenants/{tenant}/quota",
    responses=errors(400, 404, 413, 415, 422, 503),
    openapi_extra=json_body(QuotaRequest, QUOTA),
)
def set_quota(data: JsonBody, tenant: TenantName, _who: Admin, control: Control) -> Tenant:
    """Set all of a tenant's quota. What runs goes on; within a second it counts for all that starts or is submitted."""
    asked = validated(QuotaRequest, data)
    return _shown(control, control.tenants.set_quota(tenant, asked.model_dump()))


def _shown(control: ControlPlane, row: TenantRow) -> Tenant:
    return Tenant.of(row, control.tenants.in_effect(row), control.tenants.usage(row.name))
