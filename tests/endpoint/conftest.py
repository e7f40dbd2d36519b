"""One real engine and one real foreign server for the whole session, because starting them takes long."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import ollama
import pytest

from localgif.endpoint.child import RunningEndpoint, embedded_endpoint
from localgif.endpoint.discover import find_model
from localgif.models.find import Weights
from localgif.records import RemoteModel, ServeConfig, ServedModel
from tests.support.llama_server import KEY, NAME, WINDOW, LlamaServer, llama_server


@pytest.fixture(scope="session")
def served(smollm2: Weights) -> ServedModel:
    """SmolLM2-135M with a window that is filled within seconds."""
    return ServedModel(
        name="smollm2:135m",
        path=str(smollm2.path),
        digest=smollm2.digest,
        size=smollm2.size,
        num_ctx=512,
        description="SmolLM2",
    )


@pytest.fixture(scope="session")
def endpoint(served: ServedModel) -> Iterator[RunningEndpoint]:
    """The embedded endpoint as a real child process.

    One thread: two llama.cpp threads that share their cores with another program mostly wait for each other.
    """
    with embedded_endpoint(ServeConfig(models=(served,), threads=1)) as running:
        yield running


@pytest.fixture
def client(endpoint: RunningEndpoint) -> Iterator[ollama.Client]:
    with ollama.Client(endpoint.url, trust_env=False) as client:
        yield client


@pytest.fixture
def http(endpoint: RunningEndpoint) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=endpoint.url, trust_env=False, timeout=60) as http:
        yield http


@pytest.fixture(scope="session")
def theirs(smollm2: Weights) -> Iterator[LlamaServer]:
    """llama.cpp's own server, which wants a key and shifts its window."""
    with llama_server(smollm2.path) as running:
        yield running


@pytest.fixture(scope="session")
def found(theirs: LlamaServer) -> RemoteModel:
    return find_model(theirs.url, KEY, NAME, WINDOW, "[models.x]")


@pytest.fixture(scope="session")
def front(found: RemoteModel) -> Iterator[RunningEndpoint]:
    """A gateway in front of that server."""
    with embedded_endpoint(ServeConfig(remotes=(found,))) as running:
        yield running
