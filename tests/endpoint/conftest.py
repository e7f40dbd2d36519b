"""One real endpoint for all tests that only talk to it: on a small machine no two engines run at the same time."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import ollama
import pytest

from localgif.endpoint.child import RunningEndpoint, embedded_endpoint
from localgif.models.find import Weights
from localgif.records import ServeConfig, ServedModel

SMOLLM2 = "smollm2:135m"


@pytest.fixture(scope="session")
def served(smollm2: Weights) -> ServedModel:
    """SmolLM2-135M with a window that is filled within seconds."""
    return ServedModel(
        name=SMOLLM2,
        path=str(smollm2.path),
        digest=smollm2.digest,
        size=smollm2.size,
        num_ctx=512,
        description="SmolLM2",
    )


@pytest.fixture(scope="module")
def endpoint(served: ServedModel) -> Iterator[RunningEndpoint]:
    """The embedded endpoint as a real child process.

    One thread: two of llama.cpp's that share their cores with another program wait for each other most of the time.
    """
    with embedded_endpoint(ServeConfig(models=(served,), port=0, threads=1, max_queue=512)) as running:
        yield running


@pytest.fixture
def client(endpoint: RunningEndpoint) -> Iterator[ollama.Client]:
    with ollama.Client(endpoint.url, trust_env=False) as client:
        yield client


@pytest.fixture
def http(endpoint: RunningEndpoint) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=endpoint.url, trust_env=False, timeout=60) as http:
        yield http
