"""What Prometheus reads."""

from fastapi import APIRouter, Request, Response

from service.auth import Reader
from service.openapi import errors
from service.routes.parameters import Control

router = APIRouter(tags=["service"])


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus's text format 0.0.4, or OpenMetrics where `Accept` asks for it. "
            "docs/observability.md lists the metrics. The numbers are of all tenants together, and name none.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **errors(422, 503),
    },
)
def get_telemetry(request: Request, _who: Reader, control: Control) -> Response:
    """Show what the service counts of itself, for Prometheus."""
    text, media_type = control.telemetry.text(request.headers.get("accept", ""))
    return Response(text, headers={"Content-Type": media_type, "Cache-Control": "no-store"})
