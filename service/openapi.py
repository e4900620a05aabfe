"""The OpenAPI document: what FastAPI tells of the routes, and what it cannot know: bodies that we parse ourselves.

`python -m service.openapi docs/openapi.json` writes it to a file.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.auth import COOKIE, scope_of
from service.errors import Problem
from service.examples import ANSWERS, BODIES
from service.key_views import KeyRequest, SigninRequest
from service.keys import Scope
from service.links import LINKS
from service.problem_examples import problem_example
from service.problems import MEDIA_TYPE
from service.quota_views import QuotaRequest
from service.views import REFERS_TO, PredictRequest
from service.webhooks.documented import MODELS as WEBHOOK_MODELS
from service.webhooks.documented import sent
from shared.spec import JobSpec
from shared.table import Column

__all__ = ["binary_body", "document", "errors", "headers", "json_body"]

Json = dict[str, Any]

MODELS: tuple[type[BaseModel], ...] = (
    JobSpec,
    Column,
    PredictRequest,
    KeyRequest,
    SigninRequest,
    QuotaRequest,
    Problem,
    *WEBHOOK_MODELS,
)

DESCRIPTION = """
Chainrule trains neural networks: send a table and a spec, watch the job, take the model or ask it for predictions.
The trained weights are a pure function of spec and data. A job is data: nothing that is sent is ever executed.

Times are RFC 3339 in UTC, durations end in `_s`, sizes in `_bytes`. Lists are `{"items": […], "next_cursor": …}`.
Errors are problem documents (RFC 9457); unknown fields and unknown query parameters are refused.

Send a key as `Authorization: Bearer KEY`, never in a URL. It has the scope `read`, `submit`, which implies `read`, or
`admin`, which implies both, and belongs to a tenant, whose jobs and data sets are the only ones that it sees. A browser
signs in at `/v1/session` and is known by a cookie from then on.

What any address may answer, with a problem document: 405 for a method that is not there (`Allow` names those that are),
408 for a request that comes too slowly, 414 for an address over 8 KiB, 431 for headers over 16 KiB.
""".strip()

SECURITY: Json = {
    "key": {"type": "http", "scheme": "bearer", "description": "A key."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "Of a browser that signed in.",
    },
}

MEANINGS = {
    400: "The body cannot be read as what it claims to be, or `Host` is no name of this service.",
    401: "There is no key, or it is unknown, revoked, expired, or in the address; a session may be over.",
    403: "The key may not do this, or a page of another site asks for it.",
    404: "There is no such thing.",
    409: "It is impossible in the present state.",
    413: "The body is larger than the service accepts.",
    415: "The body is of a type, or in an encoding, that is not taken.",
    416: "The file does not reach so far; `Content-Range` says how far it does.",
    429: "Too much is asked for at once; ask again after `Retry-After` seconds.",
    422: "A field or a parameter is wrong; `errors` names each.",
    500: "The service failed; its log says more under the `request_id`.",
    503: "The service cannot answer now; try again after `Retry-After` seconds.",
}


HEADERS = {
    "X-Request-Id": {"description": "What the log calls this request.", "schema": {"type": "string"}},
    "Retry-After": {"description": "After so many seconds.", "schema": {"type": "integer", "minimum": 1}},
    "WWW-Authenticate": {"description": "`Bearer`: a key is asked for.", "schema": {"type": "string"}},
}
"""Of all answers, or of all with one of these statuses."""
HEADERS_OF = {"401": ["WWW-Authenticate"], "429": ["Retry-After"], "503": ["Retry-After"]}


def errors(*statuses: int) -> dict[int | str, Json]:
    """The errors of a route, for its `responses`; every route may also fail by itself."""
    return {status: {"description": MEANINGS[status], "content": _problem()} for status in sorted({*statuses, 500})}


def _problem() -> Json:
    return {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}


def headers(**descriptions: str) -> dict[str, Json]:
    """The headers of an answer, for its route's `responses`; an underscore stands for a hyphen."""
    return {
        name.replace("_", "-"): {"description": description, "schema": {"type": "string"}}
        for name, description in descriptions.items()
    }


def json_body(model: type[BaseModel], example: Json, *, required: bool = True) -> Json:
    """The JSON body of a route, for its `openapi_extra`."""
    content = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}, "example": example}
    return {"requestBody": {"required": required, "content": {"application/json": content}}}


def binary_body(examples: dict[str, str], description: str) -> Json:
    """A body of bytes, with an example for each media type."""
    schema = {"type": "string", "format": "binary"}
    content = {kind: {"schema": schema, "example": example} for kind, example in examples.items()}
    return {"requestBody": {"required": True, "description": description, "content": content}}


def document(app: FastAPI) -> Json:
    """The document of `app`; made once."""
    if not app.openapi_schema:
        made = get_openapi(
            title="Chainrule",
            version=version("chainrule-service"),
            description=DESCRIPTION,
            routes=app.routes,
            tags=[
                {"name": "datasets", "description": "Tables to train on."},
                {"name": "jobs", "description": "Training, from the spec to the end."},
                {"name": "models", "description": "What came out of it."},
                {
                    "name": "webhooks",
                    "description": "Who else is told when jobs move; what is sent is under `webhooks`.",
                },
                {"name": "keys", "description": "Who may do what, and in whose name."},
                {"name": "tenants", "description": "What each may have of what all share."},
                {"name": "service", "description": "How the service itself is."},
            ],
        )
        place = {tag["name"]: number for number, tag in enumerate(made["tags"])}
        made["paths"] = dict(sorted(made["paths"].items(), key=lambda found: place[_tag_of(found[1])]))
        template = "#/components/schemas/{model}"
        _, ours = models_json_schema([(model, "validation") for model in MODELS], ref_template=template)
        schemas = made.setdefault("components", {}).setdefault("schemas", {}) | ours["$defs"]
        made["components"] |= {"securitySchemes": SECURITY, "headers": HEADERS}
        routes = [context.original_route for context in iter_route_contexts(app.routes)]
        scopes = {route.name: scope_of(route) for route in routes if isinstance(route, APIRoute)}
        made["components"]["schemas"] = {name: _described(schemas[name]) for name in sorted(schemas)}
        for verb, operation in (each for verbs in made["paths"].values() for each in verbs.items()):
            _say_scope(operation, verb, scopes[operation["operationId"]])
            operation["summary"] = operation.pop("description").rstrip(".")  # the endpoint's docstring, one sentence
            _show_examples(operation)
            _show_headers(operation)
            _show_links(operation)
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _without_null(parameter["schema"])
        made["webhooks"] = sent()
        for unused in ("HTTPValidationError", "ValidationError"):
            made["components"]["schemas"].pop(unused, None)
        app.openapi_schema = made
    return app.openapi_schema


def _tag_of(verbs: Json) -> str:
    tag: str = next(iter(verbs.values()))["tags"][0]
    return tag


def _say_scope(operation: Json, verb: str, scope: Scope | None) -> None:
    """Adds what a route needs, and what it answers without."""
    operation["security"] = [] if scope is None else [{scheme: [scope]} for scheme in SECURITY]
    refusals = [400, 401] if scope is None or (scope == Scope.READ and verb == "get") else [400, 401, 403]
    answers = operation["responses"] | {str(status): answer for status, answer in errors(*refusals).items()}
    operation["responses"] = dict(sorted(answers.items()))


def _show_examples(operation: Json) -> None:
    """Adds an example to every body that the operation answers. Only here: FastAPI leaves out what is null in one."""
    name, tag = operation["operationId"], operation["tags"][0]
    takes_json = "application/json" in operation.get("requestBody", {}).get("content", {})
    for status, answer in operation["responses"].items():
        for kind, content in answer.get("content", {}).items():
            if kind == MEDIA_TYPE:
                content["example"] = problem_example(name, tag, int(status), takes_json=takes_json)
            elif (name, status) in ANSWERS:
                content["example"] = ANSWERS[name, status]
            else:
                options = content["schema"].get("anyOf", [content["schema"]])
                models = [option["$ref"].rpartition("/")[2] for option in options]
                content["examples"] = {model: {"value": BODIES[model]} for model in models}


def _show_headers(operation: Json) -> None:
    """Adds the headers that are not of this operation alone."""
    for status, answer in operation["responses"].items():
        names = ["X-Request-Id", *HEADERS_OF.get(status, ())]
        shared = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
        answer["headers"] = {**answer.get("headers", {}), **shared}


def _show_links(operation: Json) -> None:
    """Adds what can be done next with what the operation answers."""
    for status, links in LINKS.get(operation["operationId"], {}).items():
        operation["responses"][status]["links"] = links


def _without_null(schema: Json) -> Json:
    """The schema of a parameter that may be left out: it has no null, as FastAPI says it had."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) != 1:
        return schema
    return {**{name: value for name, value in schema.items() if name != "anyOf"}, **options[0]}


def _described(schema: Json) -> Json:
    """The schema with a description on every property (`type` of a tagged union has none of its own), and with
    references where a model says only what an object is of."""
    for known in schema.get("properties", {}).values():
        for place in (known, known.get("items", {})):
            if REFERS_TO in place:
                place["$ref"] = f"#/components/schemas/{place.pop(REFERS_TO)}"
                place.pop("type")
        if "description" not in known and "const" in known:
            known["description"] = f"Always `{known['const']}`: which kind of object this is."
    return schema


def main() -> None:
    """Writes the document to the file named by the first argument."""
    from service.app import create_app
    from service.settings import Settings

    def no_cluster() -> Any:
        raise AssertionError("the document is written without starting anything")

    text = json.dumps(document(create_app(Settings(), no_cluster)), indent=1, ensure_ascii=False)
    Path(sys.argv[1]).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
