"""What the API takes and answers on keys and sessions, every field described."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Row

from service.clock import later, written
from service.database import DEFAULT_TENANT
from service.keys import Principal, Scope
from service.views import NextCursor, Time, View
from shared.errors import InvalidInput
from shared.spec import Name

__all__ = ["Key", "KeyPage", "KeyRequest", "MadeKey", "Request", "Session", "SigninLink", "SigninRequest"]

LONGEST_S = 100 * 366 * 24 * 3600


class Request(BaseModel):
    """What is sent."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, frozen=True)


# ---------------------------------------------------------------- keys
class KeyRequest(Request):
    """A key to be made."""

    name: Annotated[Name, Field(examples=["the nightly jobs"])]
    """What it is for; for people."""
    tenant: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}$", examples=["risk"])] = DEFAULT_TENANT
    """Whose jobs and data sets it opens; a name that is new makes a new tenant."""
    scopes: Annotated[list[Literal["read", "submit", "admin"]], Field(min_length=1, max_length=3)]
    """What it allows. `submit` implies `read`; `admin` implies both."""
    expires_at: Annotated[str | None, Field(json_schema_extra={"format": "date-time"})] = None
    """When it ends; never, if neither this nor `expires_in_s` is given."""
    expires_in_s: Annotated[int | None, Field(ge=1, le=LONGEST_S)] = None
    """The same, in seconds from now."""

    @property
    def scope(self) -> Scope:
        """The highest of the scopes."""
        return max((Scope(scope) for scope in self.scopes), key=list(Scope).index)

    def end(self, moment: str) -> str | None:
        """When a key that is made at `moment` expires, as the database has it. Raises InvalidInput."""
        if self.expires_in_s is not None:
            if self.expires_at is not None:
                raise InvalidInput.of("expires_at", self.expires_at, "null, as expires_in_s is given")
            return later(moment, self.expires_in_s)
        if self.expires_at is None:
            return None
        try:
            parsed = datetime.fromisoformat(self.expires_at)
            end = "" if parsed.tzinfo is None else written(parsed)
        except (ValueError, OverflowError):
            end = ""
        if end <= moment:
            raise InvalidInput.of("expires_at", self.expires_at, "a time to come, as RFC 3339 writes it")
        return end


class Key(View):
    """A key, without the key itself, which is kept nowhere."""

    id: Annotated[str, Field(examples=["key_ab12cd34"])]
    """Made by the service; the key itself begins with the same eight characters."""
    name: Annotated[str, Field(examples=["the nightly jobs"])]
    """What it is for."""
    tenant: Annotated[str, Field(examples=["risk"])]
    """Whose jobs and data sets it opens."""
    scopes: Annotated[list[Scope], Field(examples=[["read", "submit"]])]
    """All that it allows."""
    created_at: Time
    """When it was made."""
    expires_at: Time | None
    """When it ends by itself; null for never."""
    revoked_at: Time | None
    """When somebody ended it."""

    @classmethod
    def of(cls, key: Row[Any]) -> "Key":
        """From the key's row in the database."""
        names = ("id", "name", "tenant", "created_at", "expires_at", "revoked_at")
        return cls(scopes=Scope(key.scope).implied, **{name: getattr(key, name) for name in names})


class MadeKey(Key):
    """A key that was just made."""

    key: Annotated[str, Field(examples=["chainrule_ab12cd34_…"])]
    """The key itself, told this once: nobody can tell it again."""


class KeyPage(View):
    """Keys of all tenants, newest first."""

    items: list[Key]
    """One page of them."""
    next_cursor: NextCursor


# ---------------------------------------------------------------- sessions
class SigninRequest(Request):
    """A code from a sign-in link."""

    code: Annotated[str, Field(min_length=1, max_length=100)]
    """It opens one session, within ten minutes."""


class KeyName(View):
    """Which key."""

    id: Annotated[str, Field(examples=["key_ab12cd34"])]
    """Its id."""
    name: Annotated[str, Field(examples=["the nightly jobs"])]
    """What it is for."""


class Session(View):
    """Who asks."""

    tenant: Annotated[str, Field(examples=["risk"])]
    """Whose jobs and data sets are seen."""
    scopes: Annotated[list[Scope], Field(examples=[["read", "submit"]])]
    """All that is allowed."""
    key: KeyName
    """The key that is shown, or that has opened the session."""

    @classmethod
    def of(cls, who: Principal) -> "Session":
        """The session of that principal."""
        return cls(tenant=who.tenant, scopes=who.scope.implied, key=KeyName(id=who.key_id, name=who.key_name))


class SigninLink(View):
    """What opens the page signed in, once, within ten minutes."""

    code: Annotated[str, Field(examples=["tQ3oB1vY2mZ7cX0nR5kL8pW4sD6fG9hJ_aE-iUyTqMs"])]
    """What `POST /v1/session` takes."""
    path: Annotated[str, Field(examples=["/#signin=tQ3oB1vY2mZ7cX0nR5kL8pW4sD6fG9hJ_aE-iUyTqMs"])]
    """The page with the code behind `#`, which browsers send to nobody."""
    expires_at: Time
    """When it ends."""
