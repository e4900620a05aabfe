"""Data sets: uploading, listing, looking into them."""

import asyncio
import math
from collections.abc import Coroutine
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect
from ulid import ULID

from service.auth import Reader, Submitter, recheck
from service.catalog import PAGE_BYTES, DatasetRow, NewDataset, digest_of_reading
from service.control import ControlPlane
from service.ingest.options import ReadOptions
from service.ingest.orders import Order
from service.openapi import binary_body, errors, headers
from service.reports import finite
from service.routes.parameters import TURN, TURN_TO_UPLOAD, Control, Cursor, DatasetId, DatasetKey, Limit, like
from service.uploads import MAX_BYTES, receive, temporary_folder
from service.views import Dataset, DatasetPage, HistogramPage, Preview, number_of, page_of
from shared.errors import ChainruleError, InvalidInput, TooLarge, UnsupportedMedia
from shared.spec import Name
from shared.table import ColumnType, TableFile

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])

MEDIA_TYPES = ("text/csv", "application/vnd.apache.parquet", "application/x-npz")
MAX_PREVIEW_VALUES = 2_000_000
MAX_MISSING = 100
NAME: TypeAdapter[str] = TypeAdapter(Name)
NAMES = r"(?!\.{1,2}$)[^/\x00-\x1f\x7f-\x9f]{1,200}"
DELIMITERS = r"[\x01-\x09\x0b\x0c\x0e-!#-\x7f]|\\t|tab"
TYPE = rf"[^,]*[^,\s][^,]*:(?:{'|'.join(get_args(ColumnType))})"

BODY = binary_body(
    {
        "text/csv": "age,workclass,income\n39,State-gov,<=50K\n",
        "application/vnd.apache.parquet": "PAR1…",
        "application/x-npz": "PK…",
    },
    "The file itself, 2 GiB at most, and no more than the tenant's quota leaves; a CSV may be compressed with gzip "
    "(`Content-Encoding: gzip`).",
)


# ---------------------------------------------------------------- uploading
@router.post(
    "",
    status_code=201,
    dependencies=[TURN_TO_UPLOAD],
    response_model=Dataset,
    responses={
        200: {"model": Dataset, "description": "The same bytes under the same name again: the same data set."},
        201: {"description": "The data set.", "headers": headers(Location="Where it is.")},
        **errors(413, 415, 422, 429, 503),
    },
    openapi_extra=BODY,
)
async def add_dataset(
    request: Request,
    who: Submitter,
    control: Control,
    name: Annotated[
        str,
        Query(
            description="What to call it: 1 to 200 characters, without `/` and control characters, neither `.` nor "
            "`..`. Of a name used before it is the next version.",
            json_schema_extra=like(NAMES),
        ),
    ],
    header: Annotated[bool | None, Query(description="CSV: whether the first row holds the names.")] = None,
    delimiter: Annotated[
        str | None,
        Query(
            description="CSV: what stands between cells: one ASCII character, or `tab`.",
            json_schema_extra=like(DELIMITERS),
        ),
    ] = None,
    missing: Annotated[
        list[str] | None,
        Query(
            max_length=MAX_MISSING,
            description="CSV: a further cell that is a missing value, besides the empty one, ?, NA, NaN and null.",
        ),
    ] = None,
    types: Annotated[
        str | None,
        Query(
            description="Types of columns, where another would be inferred: `zip:category,day:text`.",
            json_schema_extra=like(f"(?:{TYPE}(?:,{TYPE})*)?"),
        ),
    ] = None,
) -> Response:
    """Upload a data set: the file as the body, streamed."""
    options = ReadOptions(header, delimiter, missing or [], _types(types))
    media_type, gzipped = _media_of(request)
    _check_name(name)
    read_as = digest_of_reading(media_type, options)
    dataset_id, still_good = f"ds_{ULID()}", recheck(request)
    limit = await run_in_threadpool(control.tenants.limit_of_upload, who.tenant, name)
    async with limit, temporary_folder(control.folder.uploads, dataset_id) as folder:
        received = await receive(
            request.stream(), folder / "upload", gzipped=gzipped, limit=limit, threads=control.upload_threads
        )
        await run_in_threadpool(still_good)  # it may have taken hours
        known = await run_in_threadpool(control.catalog.same, who.tenant, name, received.sha256, read_as)
        if known is not None:
            return _answer(known, is_new=False)
        await run_in_threadpool(control.tenants.check_upload, who.tenant, received.size_bytes)
        order = Order(
            tenant=who.tenant,
            source=received.path,
            media_type=media_type,
            options=options,
            folder=folder / "table",
            dataset_id=dataset_id,
            sha256=received.sha256,
        )
        table, table_bytes = await _read(request, control, order)
        new = NewDataset(dataset_id, who.tenant, name, received.size_bytes, read_as, table, table_bytes)
        await run_in_threadpool(still_good)
        dataset, is_new = await run_in_threadpool(_list, control, new, order.folder)
    return _answer(dataset, is_new=is_new)


async def _read(request: Request, control: ControlPlane, order: Order) -> tuple[TableFile, int]:
    """The table that is made of what has arrived, in a new folder, and its size in bytes."""
    order.folder.mkdir(mode=0o700)
    table = await while_connected(request, control.readers.read(order))
    return table, (order.folder / "table.arrow").stat().st_size


async def while_connected(request: Request, work: Coroutine[Any, Any, TableFile]) -> TableFile:
    """What `work` returns. It is cancelled when the client has gone away, with ClientDisconnect."""
    working, waiting = asyncio.create_task(work), asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        for task in (working, waiting):
            task.cancel()
        await asyncio.wait({working, waiting})


async def _disconnected(request: Request) -> None:
    """Returns when nobody waits for the answer any more; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _list(control: ControlPlane, new: NewDataset, made: Path) -> tuple[DatasetRow, bool]:
    """Lists what was made. The table is moved into place before the row is committed, and taken away again when it
    surely is not, so that no data set is ever listed without its file. Where the database is away at the commit, nobody
    knows; the file stays, in doubt."""
    room = control.tenants.room_for(new.tenant, new.table_bytes)  # others have been uploaded meanwhile
    with control.folder.in_doubt(new.id):
        control.folder.add_dataset(made, new.id)
        try:
            dataset, is_new = control.catalog.add(new, room)
        except ChainruleError:
            control.folder.remove_dataset(new.id)
            raise
        if not is_new:
            control.folder.remove_dataset(new.id)
    return dataset, is_new


def _answer(dataset: DatasetRow, *, is_new: bool) -> Response:
    headers = {"Location": f"/v1/datasets/{dataset.id}"} if is_new else None
    return JSONResponse(Dataset.of(dataset).model_dump(mode="json"), 201 if is_new else 200, headers)


def _check_name(name: str) -> None:
    """Raises InvalidInput for a name that is no text to read, or could not stand in a path."""
    try:
        NAME.validate_python(name)
        allowed = "/" not in name and name not in (".", "..")
    except ValidationError:
        allowed = False
    if not allowed:
        expected = "text of 1 to 200 characters, without / and control characters, and neither . nor .."
        raise InvalidInput.of("name", name, expected)


def _media_of(request: Request) -> tuple[str, bool]:
    """The media type of the body, and whether it is in gzip. Raises UnsupportedMedia, TooLarge."""
    given = request.headers.get("content-type", "")
    media_type = given.partition(";")[0].strip().lower()
    if media_type not in MEDIA_TYPES:
        raise UnsupportedMedia(
            f"got {given[:100] or 'no Content-Type'}, expected Content-Type: {', '.join(MEDIA_TYPES[:-1])} or "
            f"{MEDIA_TYPES[-1]}"
        )
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip") or (encoding == "gzip" and media_type != "text/csv"):
        expected = "none or gzip" if media_type == "text/csv" else "none: this kind of file is compressed inside"
        raise UnsupportedMedia(f"got Content-Encoding {encoding[:100]}, expected {expected}")
    length = request.headers.get("content-length", "")
    if len(length) > 15 or (length.isascii() and length.isdigit() and int(length) > MAX_BYTES):
        raise TooLarge(f"got {length[:30]} bytes, expected at most {MAX_BYTES:,}")
    return media_type, encoding == "gzip"


def _types(text: str | None) -> dict[str, ColumnType]:
    """`zip:category,day:text`; a name may hold colons, but no comma."""
    found: dict[str, ColumnType] = {}
    kinds: tuple[ColumnType, ...] = get_args(ColumnType)
    for part in text.split(",") if text else ():
        name, _, kind = part.rpartition(":")
        known = next((known for known in kinds if known == kind.strip()), None)
        if known is None or not name.strip():
            raise InvalidInput.of("types", part, f"column:type, with a type of {', '.join(kinds)}")
        if name.strip() in found:
            raise InvalidInput.of("types", part, "each column once")
        found[name.strip()] = known
    return found


# ---------------------------------------------------------------- looking
@router.get("", responses=errors(422, 503))
def list_datasets(who: Reader, control: Control, limit: Limit = 50, cursor: Cursor = None) -> DatasetPage:
    """List data sets, newest first: fewer than `limit` where they have very many columns."""
    rows = control.catalog.list(who.tenant, number_of(cursor), limit + 1)
    is_full = sum(row.profile_bytes for row in rows) >= PAGE_BYTES
    page, next_cursor = page_of(rows, limit, attrgetter("number"), is_full)
    return DatasetPage(items=[Dataset.of(row) for row in page], next_cursor=next_cursor)


@router.get("/{dataset}", responses=errors(404, 422, 503))
def get_dataset(dataset: DatasetKey, who: Reader, control: Control) -> Dataset:
    """Show a data set with its columns' profiles."""
    return Dataset.of(control.catalog.find(who.tenant, dataset))


@router.get("/{dataset}/preview", dependencies=[TURN], response_model=Preview, responses=errors(404, 422, 429, 503))
def preview_dataset(
    dataset: DatasetKey,
    who: Reader,
    control: Control,
    rows: Annotated[int, Query(ge=1, le=100_000, description="How many; fewer are given where a row is long.")] = 20,
) -> Response:
    """Show the first rows of a data set."""
    from service.datasets import preview

    table = control.catalog.table(who.tenant, dataset)
    values_a_row = sum(math.prod(column.shape or [1]) for column in table.columns)
    head = preview(table, min(rows, max(1, MAX_PREVIEW_VALUES // values_a_row)))
    return JSONResponse({"rows": finite(head)})


@router.get(
    "/{dataset}/histograms",
    dependencies=[TURN],
    response_model_exclude_unset=True,
    responses=errors(404, 409, 422, 429, 503),
)
def get_histograms(
    dataset: DatasetKey, who: Reader, control: Control, limit: Limit = 50, cursor: Cursor = None
) -> HistogramPage:
    """Count how the values of each column are spread: `limit` columns a page, those of numbers and categories."""
    from service.histograms import histograms

    table = control.catalog.table(who.tenant, dataset)
    first = number_of(cursor) or 0
    columns = table.columns[first : first + limit + 1]
    page, next_cursor = page_of(columns, limit, lambda _: first + limit)
    return HistogramPage(items=histograms(table, page), next_cursor=next_cursor)


@router.delete("/{dataset}", status_code=204, responses=errors(404, 409, 422, 503))
def delete_dataset(dataset_id: DatasetId, who: Submitter, control: Control) -> None:
    """Remove a data set, named by its id, and its file."""  # by its name, a repetition would remove an older version
    with control.folder.in_doubt(dataset_id):
        control.catalog.delete(who.tenant, dataset_id)
        control.folder.remove_dataset(dataset_id)
