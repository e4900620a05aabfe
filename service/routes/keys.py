"""Keys: making, listing and revoking them."""

from operator import attrgetter

from fastapi import APIRouter

from service.auth import Admin
from service.clock import now
from service.credentials import NewKeyRow
from service.examples import KEY
from service.field_errors import validated
from service.json_body import JsonBody
from service.key_views import Key, KeyPage, KeyRequest, MadeKey
from service.openapi import errors, json_body
from service.routes.parameters import Control, Cursor, KeyId, Limit
from service.views import number_of, page_of

router = APIRouter(prefix="/v1/keys", tags=["keys"])


@router.post("", status_code=201, responses=errors(400, 413, 415, 422, 503), openapi_extra=json_body(KeyRequest, KEY))
def add_key(data: JsonBody, _who: Admin, control: Control) -> MadeKey:
    """Make a key, for any tenant; the answer alone holds the key itself."""
    asked = validated(KeyRequest, data)
    new = NewKeyRow(asked.name, asked.scope, asked.tenant, asked.end(now()))
    key, text = control.credentials.add_key(new)
    return MadeKey(**Key.of(key).model_dump(), key=text)


@router.get("", responses=errors(422, 503))
def list_keys(_who: Admin, control: Control, limit: Limit = 50, cursor: Cursor = None) -> KeyPage:
    """List the keys of all tenants, newest first; revoked and expired ones too."""
    rows = control.credentials.list_keys(number_of(cursor), limit + 1)
    page, next_cursor = page_of(rows, limit, attrgetter("number"))
    return KeyPage(items=[Key.of(row) for row in page], next_cursor=next_cursor)


@router.delete("/{key_id}", status_code=204, responses=errors(404, 409, 422, 503))
def revoke_key(key_id: KeyId, _who: Admin, control: Control) -> None:
    """Revoke a key: within a second it opens nothing any more, nor do the sessions that it gave."""
    control.credentials.revoke(key_id)
