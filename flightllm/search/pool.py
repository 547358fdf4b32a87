"""Where the configs of a search are evaluated: in this process, on this machine's cores, or on a Dask cluster."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from flightllm.config.arch import ArchConfig
from flightllm.errors import ConfigError, ToolError
from flightllm.search.point import Point, Work, evaluate

#: seconds until a scheduler has to answer, and until it has to have a worker
TIMEOUT = 15.0
LOCAL = "local"
#: times a config is tried again when the worker that had it went away
RETRIES = 2


class Pool(Protocol):
    """Evaluates configs. done: called with each point as it is there, in any order; the result has the order of the configs."""

    def run(self, work: Work, configs: Sequence[ArchConfig], done: Callable[[Point], None]) -> list[Point]: ...


class Serial:
    """In this process, one after another."""

    def run(self, work: Work, configs: Sequence[ArchConfig], done: Callable[[Point], None]) -> list[Point]:
        out = []
        for arch in configs:
            out.append(evaluate(work, arch))
            done(out[-1])
        return out


class DaskPool:
    """On the workers of a Dask scheduler. client: `distributed.Client`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, work: Work, configs: Sequence[ArchConfig], done: Callable[[Point], None]) -> list[Point]:
        from distributed import as_completed

        submit = self._client.submit
        futures = [submit(evaluate, work, arch, pure=False, retries=RETRIES) for arch in configs]
        number = {future.key: i for i, future in enumerate(futures)}
        found: dict[int, Point] = {}
        try:
            for future in as_completed(futures, loop=self._client.loop):
                i = number[future.key]
                found[i] = _result(future, configs[i])
                done(found[i])
        finally:
            self._client.cancel([f for f in futures if not f.done()], force=True)
        return [found[i] for i in range(len(configs))]


def _result(future: Any, arch: ArchConfig) -> Point:
    """The point of a future; `evaluate` raises nothing, so what went wrong is a worker's end."""
    if future.status == "finished":
        point: Point = future.result()
        return point
    error = future.exception() if future.status == "error" else "cancelled"
    return Point(arch, refused="a worker was lost", why=" ".join(str(error).split())[:300], failed=True)


@contextlib.contextmanager
def open_pool(scheduler: str = LOCAL, workers: int | None = None) -> Iterator[Pool]:
    """A place to evaluate configs; what was started for it ends with the context.

    Args:
        scheduler: "local", or the address of a Dask scheduler ("tcp://host:8786").
        workers: processes on this machine, default its cores; 1: in this process, without Dask.

    Raises:
        ToolError: Dask is not installed, the scheduler does not answer, or its workers have another flightllm.
        ConfigError: options that make no sense.
    """
    if scheduler == LOCAL and workers is not None and workers < 1:
        raise ConfigError(f"{workers} workers are not possible", where="workers", do="give 1 or more")
    if scheduler != LOCAL and workers is not None:
        raise ConfigError(
            "a number of workers with the address of a scheduler",
            where="workers",
            why="a cluster has the workers that were started for it",
            do="give one or the other",
        )
    if scheduler == LOCAL:
        workers = workers or os.cpu_count() or 1
        if workers == 1:
            yield Serial()
            return
    if find_spec("distributed") is None:
        raise ToolError(
            "dask is not installed",
            why="a search runs on its workers",
            do='pip install "flightllm[explore]", or --workers 1 to search in this process',
        )
    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet())
        client = stack.enter_context(_local(workers or 1) if scheduler == LOCAL else _remote(scheduler))
        yield DaskPool(client)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Messages of Dask's own are left out: what matters is in the points and errors."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def _local(workers: int) -> Iterator[Any]:
    """A client of processes on this machine."""
    from distributed import Client, LocalCluster

    with _deaf():
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )
    with cluster, Client(cluster, set_as_default=False) as client:
        yield client


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Processes that start meanwhile ignore Ctrl-C, which a terminal sends to all: ours ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


@contextlib.contextmanager
def _remote(address: str) -> Iterator[Any]:
    """A client of a scheduler that runs somewhere, after a look at its workers."""
    from distributed import Client

    do = "give the address that `dask scheduler` prints, such as tcp://host:8786, or --scheduler local"
    try:  # a client that cannot connect takes a minute to end
        with ThreadPoolExecutor(1) as thread:  # a notebook has a loop of its own
            found = thread.submit(asyncio.run, _identity(address)).result()
    except (OSError, ValueError) as error:  # refused, no answer in time, or not an address
        why = " ".join(str(error).split()) or f"no answer in {TIMEOUT:.0f} s"
        raise ToolError("the Dask scheduler does not answer", where=address, why=why, do=do) from None
    if found.get("type") != "Scheduler":
        raise ToolError(f"this is a Dask {found.get('type')}, no scheduler", where=address, do=do)
    with Client(address, timeout=TIMEOUT, set_as_default=False) as client:
        _check_workers(client, address)
        yield client


async def _identity(address: str) -> dict[str, Any]:
    """What a Dask server says it is."""
    from distributed import rpc
    from distributed.security import Security

    async with rpc(address, timeout=TIMEOUT, connection_args=Security().get_connection_args("client")) as server:
        answer: dict[str, Any] = await asyncio.wait_for(server.identity(), TIMEOUT)
        return answer


def _check_workers(client: Any, address: str) -> None:
    """Raise ToolError unless there are workers that all have this flightllm."""
    try:
        client.wait_for_workers(1, timeout=TIMEOUT)
    except TimeoutError:
        raise ToolError(
            "the Dask scheduler has no workers",
            where=address,
            do=f"start some, `dask worker {address}`, where flightllm is installed",
        ) from None
    seen = client.run(code_digest, on_error="return")
    wrong = {worker: digest for worker, digest in seen.items() if digest != code_digest()}
    if wrong:
        worker, digest = sorted(wrong.items())[0]
        why = f"{worker}: {' '.join(str(digest).split())}" if isinstance(digest, BaseException) else f"{worker} differs"
        raise ToolError(
            f"{len(wrong)} of {len(seen)} workers do not have this flightllm",
            where=address,
            why=why,
            do="install the same version of flightllm where the workers run, and start them again",
        )


@cache
def code_digest() -> str:
    """Hex digits that name flightllm's code and the record of synthesis: equal ones give equal results."""
    import flightllm

    folder = Path(flightllm.__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*folder.rglob("*.py"), *folder.rglob("figures.json")]):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]
