"""FINRA's answers: headers, statuses and the bodies of errors and descriptions."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from market_spine.simulation import ErrorAnswer
from spine.domains.finra.otc_transparency.simulator.datasets import DATASETS, GROUP
from spine.domains.finra.otc_transparency.simulator.fields import DATE, FIELD
from spine.domains.finra.otc_transparency.simulator.market import Key
from spine.domains.finra.otc_transparency.simulator.query import MAX_LIMIT, ServedQuery

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

JSON = "application/json"
TEXT = "text/plain"
_MESSAGES = {
    403: "Access to the requested resource is forbidden",
    429: "Too many requests",
    500: "Internal server error",
    502: "Bad gateway",
    503: "Service unavailable",
    504: "Endpoint request timed out",
}


def error_document(status: int, message: str, **more: Any) -> Mapping[str, Any]:
    """The body of an error."""
    return {
        "statusCode": status,
        "statusDescription": HTTPStatus(status).phrase,
        "requestId": str(uuid4()),
        "message": message,
        **more,
    }


def error_answer(status: int) -> ErrorAnswer:
    """What a fault's status carries."""
    return ErrorAnswer(json.dumps(error_document(status, _MESSAGES.get(status, HTTPStatus(status).phrase))).encode())


def data_request(action: str, dataset: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The echo of a data request that an error carries."""
    names = ("fields", "dateRangeFilters", "domainFilters", "compareFilters")
    echo = {"action": action, "internalParams": {}, "datasetGroup": GROUP, "datasetName": dataset}
    return {"dataRequest": echo | {name: body.get(name) or [] for name in names}}


def respond(
    request: Request, body: bytes, media_type: str, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer with a request id, compressed if the client can read that; header names spelt as FINRA does."""
    from starlette.responses import Response

    sent = {"FINRA-api-request-id": str(uuid4()), **(headers or {})}
    if status == 204:
        body = b""
    else:
        sent |= {"Content-Type": media_type, "Vary": "Accept-Encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            body = gzip.compress(body, compresslevel=1, mtime=0)
            sent["Content-Encoding"] = "gzip"
        sent["Content-Length"] = str(len(body))
    response = Response(body, status_code=status)
    # Starlette would write the names in lower case.
    response.raw_headers = [(name.encode(), value.encode()) for name, value in sent.items()]
    return response


def respond_json(request: Request, document: Any, status: int = 200) -> Response:
    """An answer in JSON; an error's request id stands in the header, too."""
    body = json.dumps(document, separators=(",", ":")).encode()
    own_id = document.get("requestId") if isinstance(document, Mapping) else None
    return respond(request, body, JSON, status=status, headers={"FINRA-api-request-id": own_id} if own_id else None)


def page_headers(total: int, query: ServedQuery, on_page: int) -> Mapping[str, str]:
    """The headers that say which part of the records a page is."""
    return {
        "Record-Total": str(total),
        "Record-Offset": str(query.offset),
        "Record-Limit": str(query.limit),
        "Record-Max-Limit": str(MAX_LIMIT),
        "Total-Records-On-Page": str(on_page),
        "Response-Payload-Max-Size": "3mb",
    }


def partitions_document(dataset: str, keys: Sequence[Key]) -> Mapping[str, Any]:
    """The answer of ``/partitions``."""
    if not keys:
        return {
            "statusCode": 200,
            "statusDescription": "ok",
            "requestId": str(uuid4()),
            "message": "No partitions found for specified dataset.",
            "partitionAvailabilityRequest": {"action": "GET", "group": GROUP, "name": dataset, "getDetails": False},
        }
    return {
        "datasetGroup": GROUP,
        "datasetName": dataset,
        "partitionFields": list(DATASETS[dataset].partition_fields),
        "availablePartitions": [{"partitions": [key.monday.isoformat(), key.tier]} for key in keys],
    }


def metadata_document(dataset: str) -> Mapping[str, Any]:
    """The answer of ``/metadata``."""
    reader = DATASETS[dataset]
    fields = []
    for name in reader.names:
        field = FIELD[name]
        shape = {"format": "yyyy-MM-dd"} if field.type == DATE else {}
        fields.append({"name": name, "type": field.type, **shape, "description": field.description})
    return {
        "datasetGroup": GROUP.upper(),
        "datasetName": dataset.upper(),
        "partitionFields": list(reader.partition_fields),
        "fields": fields,
    }


def datasets_document(names: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """The answer of ``/datasets``."""
    return [
        {
            "datasetGroup": GROUP,
            "datasetName": name,
            "supportsQuery": True,
            "supportsRecordLimit": True,
            "supportsRecordOffset": True,
            "supportedMethods": ["GET", "POST"],
        }
        for name in names
    ]
