"""A Dask cluster: who works there, tasks on one worker, calls beside them. The only module that imports distributed.

Dask carries what is said and tells who is there. It is not asked to decide where a cell goes or when it is repeated
(dispatch.py does): a task is bound to one worker, and what goes on elsewhere is another task.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from localgif.errors import ConfigError, EndpointError, PreflightError
from localgif.offline import scheduler_url

#: To answer at all, and to come back when it was cut off in the middle.
SCHEDULER_SECONDS = 30.0
_LOCAL = re.compile(r"local:([0-9]{1,4})")
#: A worker in another state is on its way out.
_THERE = ("running", "paused")


class Lost(Exception):
    """A worker, or what it was doing, is gone."""


class Unreachable(Exception):
    """The scheduler does not answer; it may come back."""


class Seen(NamedTuple):
    """A worker as the scheduler knows it."""

    address: str
    name: str
    host: str
    threads: int
    scratch: str
    """Where it may write."""


def local_workers(scheduler: str) -> int | None:
    """The number in "local:4"; None for an address.

    Raises:
        ConfigError: it is neither.
    """
    local = _LOCAL.fullmatch(scheduler)
    if local is not None and int(local[1]) > 0:
        return int(local[1])
    try:
        scheduler_url(scheduler)
    except ValueError as error:
        raise ConfigError(f"--scheduler {scheduler} {error}", "or local:N for N workers on this machine") from None
    return None


class Cluster:
    """An open connection to a scheduler. Use `connected`."""

    def __init__(self, client: Any, where: str, local: bool) -> None:
        self._client = client
        self.where = where
        """What the user called it."""
        self.local = local
        """Whether its workers were started here, for this sweep."""

    async def workers(self) -> dict[str, Seen]:
        """Who is there now, by address.

        Raises:
            Unreachable: the scheduler does not say.
            EndpointError: it was gone for too long.
        """
        if self._client.status == "closed":
            raise self.gone()
        try:
            known = (await self._client.scheduler.identity(n_workers=-1))["workers"]
        except (OSError, TimeoutError) as error:
            raise Unreachable(str(error)) from error
        return {
            address: Seen(address, str(said["name"]), said["host"], said["nthreads"], said["local_directory"])
            for address, said in known.items()
            if said["status"] in _THERE
        }

    def gone(self) -> EndpointError:
        """What to say when the scheduler does not come back."""
        return EndpointError(
            f"the scheduler at {self.where} is gone, since {SCHEDULER_SECONDS:.0f} s or more",
            "What came back is kept. Start it again; the same command goes on.",
            code="E-SCHEDULER-LOST",
        )

    async def task(self, address: str, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function as a task of one worker; gives back or raises what it does.

        Args:
            address: Of the worker.
            name: Of the task, for Dask's own displays; unique.

        Raises:
            Lost: the task was taken back, because the worker or the scheduler is gone.
        """
        from distributed import CancelledError, KilledWorker

        future = self._client.submit(
            function, *arguments, key=name, workers=[address], allow_other_workers=False, pure=False, retries=0
        )
        try:
            return await future
        except (CancelledError, KilledWorker) as error:
            raise Lost(str(error)) from error
        finally:
            future.release()

    async def call(self, address: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a quick function of worker.py in a worker, beside its tasks.

        Raises:
            Lost: the worker does not answer.
        """
        try:
            answers = await self._client.run(function, *arguments, workers=[address])
            return answers[address]
        except (OSError, TimeoutError, KeyError, ValueError) as error:
            raise Lost(f"{type(error).__name__}: {error}") from error


@contextlib.asynccontextmanager
async def connected(scheduler: str) -> AsyncIterator[Cluster]:
    """A connection to a scheduler; with "local:N" N workers are started on this machine, and stopped at the end.

    Raises:
        ConfigError: it is neither an address nor "local:N".
        PreflightError: Dask is not installed, no scheduler answers, or one behind TLS cannot be asked.
    """
    count = local_workers(scheduler)
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise PreflightError(
            f"--scheduler needs Dask, which is not installed here ({error})",
            "in a checkout: ./scripts/env true\nelsewhere: pip install 'localgif[cluster]'",
            code="E-CLUSTER",
        ) from None
    _check_certificates(scheduler)
    # A run that goes on elsewhere travels as an argument; that is what it is.
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "4 GiB"})
    async with contextlib.AsyncExitStack() as stack:
        place: Any = scheduler
        if count is not None:
            place = await stack.enter_async_context(
                LocalCluster(  # type: ignore[no-untyped-call]
                    n_workers=count,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",  # any other would be open to the network, or taken
                    worker_dashboard_address="127.0.0.1:0",
                    silence_logs=logging.ERROR,
                    asynchronous=True,
                )
            )
        try:
            opening = Client(place, asynchronous=True, timeout=SCHEDULER_SECONDS)  # type: ignore[no-untyped-call]
            client = await stack.enter_async_context(opening)
        except (OSError, TimeoutError) as error:
            raise PreflightError(
                f"no scheduler of Dask answers at {scheduler} ({error})",
                "start one: dask scheduler; or correct --scheduler",
                code="E-SCHEDULER",
            ) from None
        yield Cluster(client, scheduler, count is not None)


def _check_certificates(scheduler: str) -> None:
    """See that there are certificates to ask a scheduler behind TLS with: without them Dask raises a TypeError."""
    if urlsplit(scheduler).scheme != "tls":
        return
    from distributed.security import Security

    remedy = (
        "set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and "
        "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY to files (docs/scale.md)"
    )
    try:
        arguments = Security().get_connection_args("client")  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:  # a file that is not there, or no certificate
        raise PreflightError(
            f"--scheduler {scheduler}: the certificates of Dask's configuration cannot be used ({error})",
            remedy,
            code="E-CERTIFICATES",
        ) from None
    if arguments["ssl_context"] is None:
        raise PreflightError(
            f"--scheduler {scheduler} takes certificates, and Dask's configuration names none for a client",
            remedy,
            code="E-CERTIFICATES",
        )
