"""Requests to a simulator that wait for as long as a busy machine needs."""

from __future__ import annotations

from typing import Any

import httpx2

PATIENCE = 300
"""Seconds."""


def get(url: str | httpx2.URL, **options: Any) -> httpx2.Response:
    """A GET request."""
    return httpx2.get(url, timeout=PATIENCE, **options)


def post(url: str | httpx2.URL, **options: Any) -> httpx2.Response:
    """A POST request."""
    return httpx2.post(url, timeout=PATIENCE, **options)
