"""The durable memory behind a small interface: `write` a transaction, `read` a snapshot.

Two engines stand behind it: SQLite (`sqlite.py`), embedded, and PostgreSQL (`postgres.py`), for several servers.

One writer thread takes transactions from a queue and puts all that are waiting into one commit (group commit): a
commit costs an fsync, so the price is paid once for many. Each caller hears of its result only after the commit. A
transaction that raises is undone alone, by its savepoint, and its error goes to its caller. On both engines writing
transactions run one after the other, over all servers of a database, so that what a transaction reads stays true
until it is done. Readers have connections of their own and never wait for the writer.

SQL is written once for both engines: `:name` parameters, TEXT and BIGINT, `RETURNING`.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from sqlite3 import Row
from typing import Any, Protocol, TypeVar

from pipeseal.errors import ConfigurationError, Unavailable

T = TypeVar("T")

_MAX_GROUP = 256  # transactions in one commit: bounds how long the first of them waits


class Transaction(ABC):
    """What a transaction may do. Lives only inside the function given to `write` or `read`.

    Rows are read by column name, `row["id"]`; nothing else of `sqlite3.Row` is promised, for PostgreSQL's rows are
    dictionaries.
    """

    __slots__ = ("_hooks",)

    def __init__(self) -> None:
        self._hooks: list[Callable[[], None]] = []

    @abstractmethod
    def all(self, sql: str, **parameters: Any) -> list[Row]:
        """Every row."""

    @abstractmethod
    def one(self, sql: str, **parameters: Any) -> Row | None:
        """The first row, or None."""

    @abstractmethod
    def run(self, sql: str, **parameters: Any) -> int:
        """Execute, and say how many rows were touched."""

    @abstractmethod
    def many(self, sql: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Execute once for each mapping of parameters."""

    def after_commit(self, hook: Callable[[], None]) -> None:
        """Call `hook` in the writer thread once this transaction is durable; never when it is undone."""
        self._hooks.append(hook)

    @property
    def hooks(self) -> Sequence[Callable[[], None]]:
        """What is to be called after the commit."""
        return self._hooks


class Request:
    """A writing transaction that waits for its turn, and what became of it."""

    __slots__ = ("error", "function", "future", "hooks", "result")

    def __init__(self, function: Callable[[Transaction], Any], future: Future[Any]) -> None:
        self.function = function
        self.future = future
        self.clear()

    def clear(self) -> None:
        """Forget a try that was undone."""
        self.hooks: Sequence[Callable[[], None]] = ()
        self.result: Any = None
        self.error: BaseException | None = None


class Watch(Protocol):
    """Awaits transactions for whoever asked for them, and notes how long they take."""

    async def __call__(self, kind: str, function: Callable[..., Any], result: Awaitable[T]) -> T:
        """Await `result`.

        Parameters:
            kind: `read` or `write`.
            function: what the transaction does.
        """
        ...


class Database(ABC):
    """A database with one writer thread and a few reader threads.

    Parameters:
        readers: how many reader threads.
    """

    # Whether other servers may be at work on the same database.
    is_shared = False

    def __init__(self, readers: int) -> None:
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_loop, name="database-writer", daemon=True)
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="database-reader")
        self._closed = False
        self.commits = 0
        # Called in the writer thread after a commit that failed, and may have been kept all the same: whoever
        # remembers what stands in the database looks again.
        self.on_doubt: Callable[[], None] = lambda: None
        # None: nobody wants to know.
        self.watch: Watch | None = None

    @classmethod
    def open(cls, path: Path) -> Database:
        """Open or make an SQLite database.

        Raises:
            ConfigurationError: `server.data`.
        """
        from pipeseal.controlplane.store.sqlite import SqliteDatabase

        return SqliteDatabase.open(path)

    def submit(self, function: Callable[[Transaction], T]) -> Future[T]:
        """Queue a writing transaction; the future is done when its commit is.

        Parameters:
            function: called in the writer thread with a `Transaction`; more than once when the database undid it for
                reasons of its own, so whatever it does outside the transaction must bear repeating.

        Raises (through the future):
            Unavailable: `server.store`, the commit failed. Nothing of the transaction is kept, as a rule; a disk or a
                connection that breaks in the middle of a commit leaves that open.
        """
        future: Future[T] = Future()
        if self._closed:
            future.set_exception(store_error("the database is closed"))
            return future
        self._queue.put(Request(function, future))
        return future

    async def write(self, function: Callable[[Transaction], T]) -> T:
        """`submit`, awaited."""
        return await self._watched("write", function, asyncio.wrap_future(self.submit(function)))

    async def write_after(self, prepare: Callable[[], object], function: Callable[[Transaction], T]) -> T:
        """Do something slow in a thread, and then `write`: from there, so that nobody is woken in between.

        Parameters:
            prepare: what comes first; when it raises, nothing is written.
        """
        written: Future[T] = Future()

        def start() -> None:
            if not written.set_running_or_notify_cancel():
                return  # nobody waits any more
            try:
                prepare()
            except BaseException as error:  # (whatever it is belongs to the caller, not to this thread)
                written.set_exception(error)
            else:
                self.submit(function).add_done_callback(lambda done: _hand_on(done, written))

        asyncio.get_running_loop().run_in_executor(None, start)
        return await self._watched("write", function, asyncio.wrap_future(written))

    async def write_apart(self, function: Callable[[Transaction], T]) -> T:
        """Run a writing transaction that need not stand in line with the others.

        Parameters:
            function: touches single rows, reads nothing that another transaction could change meanwhile, has no
                hooks, and changes nothing more when it is run again.
        """
        return await self.write(function)

    @abstractmethod
    def read_now(self, function: Callable[[Transaction], T]) -> T:
        """Run a reading transaction in this thread, on one snapshot."""

    async def read(self, function: Callable[[Transaction], T]) -> T:
        """Run a reading transaction in a reader thread, on one snapshot."""
        result = asyncio.get_running_loop().run_in_executor(self._readers, self.read_now, function)
        return await self._watched("read", function, result)

    def _watched(self, kind: str, function: Callable[..., Any], result: Awaitable[T]) -> Awaitable[T]:
        return result if self.watch is None else self.watch(kind, function, result)

    async def look(self, function: Callable[[Transaction], T]) -> T:
        """`read`, of very few rows that are found by their keys.

        An engine that has such rows at hand reads them at once: to hand that over to a thread, and to hear of it,
        takes several times as long, of this thread's time too.
        """
        return await self.read(function)

    def close(self) -> None:
        """Finish what is queued, then stop the threads and close the connections."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._writer.join()
        self._readers.shutdown(wait=True)
        self._close_connections()

    @abstractmethod
    def _close_connections(self) -> None:
        """Close what the threads used; they have ended."""

    @abstractmethod
    def _commit_group(self, group: Sequence[Request]) -> bool:
        """Run and commit transactions together, in the writer thread; leaves result, hooks or error in each.

        Returns:
            Whether the commit went well; otherwise nobody knows what was kept.
        """

    def _write_loop(self) -> None:
        stopping = False
        while not stopping:
            request = self._queue.get()
            group: list[Request] = []
            while request is not None:
                group.append(request)
                if len(group) >= _MAX_GROUP:
                    break
                try:
                    request = self._queue.get_nowait()
                except queue.Empty:
                    break
            stopping = request is None
            if group:
                went_well = self._commit_group(group)
                _deliver(group)
                if not went_well:
                    self.on_doubt()


def _deliver(group: Sequence[Request]) -> None:
    """Tell everybody what became of a group that was committed, or could not be."""
    for request in group:
        for hook in request.hooks:
            hook()
    for request in group:
        if not request.future.set_running_or_notify_cancel():
            continue  # nobody waits any more; what was committed stays
        if request.error is not None:
            request.future.set_exception(request.error)
        else:
            request.future.set_result(request.result)


def _hand_on(done: Future[T], waiting: Future[T]) -> None:
    """Give what became of one future to another that is known to be waited for, or was."""
    error = done.exception()
    if error is not None:
        waiting.set_exception(error)
    else:
        waiting.set_result(done.result())


def store_error(reason: str) -> Unavailable:
    """The error for a database that does not work."""
    return Unavailable(
        "server.store",
        f"the server could not store this: {reason}",
        help="look at the server's database and the disk it is on; repeat the request when it is well again",
    )


def migrations_missing(applied: set[int]) -> list[tuple[int, str]]:
    """Number and SQL of the migrations that a database lacks, in order.

    Parameters:
        applied: the numbers of those that it has seen.

    Raises:
        ConfigurationError: `server.data`, the database is newer than this program.
    """
    folder = resources.files(__package__).joinpath("migrations")
    files = [entry for entry in folder.iterdir() if entry.name.endswith(".sql")]
    known = {int(entry.name.split("_")[0]): entry for entry in files}
    assert len(known) == len(files), "two migrations have one number"
    unknown = applied - set(known)
    if unknown:
        raise ConfigurationError(
            "server.data",
            f"the database has schema {max(unknown)}, this program knows only up to {max(known)}",
            help="run the newer Pipeseal that wrote it",
        )
    return [(number, known[number].read_text("utf-8")) for number in sorted(set(known) - applied)]
