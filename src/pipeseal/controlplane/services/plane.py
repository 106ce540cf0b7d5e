"""The running control plane: everything that services share, opened from a data folder."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pipeseal.agentapi.routes import Token
from pipeseal.clock import Clock, SystemClock
from pipeseal.controlplane.domain.attempts import SignIns
from pipeseal.controlplane.domain.identifiers import make_id
from pipeseal.controlplane.domain.limits import Limits
from pipeseal.controlplane.domain.rates import Rate
from pipeseal.controlplane.domain.sign_in_provider import SignInProvider
from pipeseal.controlplane.domain.tokens import API_PREFIX, PREFIXES, digest_token, make_token
from pipeseal.controlplane.services.clock_jumps import ClockJumps
from pipeseal.controlplane.services.dispatch import Dispatcher, Sessions
from pipeseal.controlplane.services.events import Events
from pipeseal.controlplane.services.metrics import Metrics
from pipeseal.controlplane.services.peers import Peers, make_session
from pipeseal.controlplane.store import agents as agent_store
from pipeseal.controlplane.store import jobs as job_store
from pipeseal.controlplane.store import servers
from pipeseal.controlplane.store.database import Database, Transaction
from pipeseal.controlplane.store.log_objects import LogObjects
from pipeseal.controlplane.store.logs import LogStates, LogStore
from pipeseal.controlplane.store.objects import ObjectStore, open_object_store
from pipeseal.errors import ConfigurationError
from pipeseal.tracing.spans import Tracing

if TYPE_CHECKING:
    from pipeseal.controlplane.services.build_traces import BuildTraces

DATABASE_FILE = "control-plane.sqlite"
REGISTRATION_FILE = "agent-token"
API_FILE = "api-token"
STORE_ID_KEY = "store-id"
_GIVEN_TOKEN = re.compile(r"[A-Za-z0-9_-]{40,500}")
SECRET_FILE = "job-token-secret"  # noqa: S105  (a file name)


@dataclass(frozen=True, slots=True)
class Settings:
    """How one server behaves. Times in seconds.

    Parameters:
        organization: slug of the one organisation of this server.
        url: where people and agents reach it, without a trailing slash; empty: as it listens.
        ping_interval, job_status_interval, heartbeat_interval: told to agents, whole seconds above zero.
        ping_hold: how long a ping with nothing to do is held open.
        streaming_pings: agents may be told what to do on a stream.
        heartbeat_timeout: an agent silent for longer is lost.
        offer_timeout: a job told to an agent and not accepted goes back to the queue after this.
        cancel_timeout: an agent asked to stop a job and silent about it for longer is not waited for.
        sweep_interval: how often lost agents and overdue jobs are looked for.
        notify_http: webhooks of pipelines (`notify`) may go without TLS.
        notify_networks: networks that they may reach beyond the open one, such as `10.1.0.0/16`.
        sign_in_provider: where people sign in who have no password here; None for nowhere.
        open_metrics: anybody may read `/metrics`; otherwise it takes an API token.
        log_packing_delay: how long after a job's end its log stays in chunks, where logs are in an object store.
        limits: sizes and counts.
    """

    organization: str = "local"
    url: str = ""
    ping_interval: int = 1
    job_status_interval: int = 1
    heartbeat_interval: int = 60
    ping_hold: float = 25.0
    streaming_pings: bool = True
    heartbeat_timeout: float = 180.0
    offer_timeout: float = 10.0
    cancel_timeout: float = 120.0
    sweep_interval: float = 2.0
    log_packing_delay: float = 60.0
    sign_in_provider: SignInProvider | None = None
    open_metrics: bool = False
    notify_http: bool = False
    notify_networks: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)


class ControlPlane:
    """What the services work with. Made by `open_plane`; `start` binds it to the event loop."""

    def __init__(
        self,
        *,
        folder: Path,
        lock: IO[bytes],
        database: Database,
        logs: LogStore | LogObjects,
        objects: ObjectStore,
        settings: Settings,
        job_secret: bytes,
        clock: Clock,
        steady: Callable[[], float],
        randomness: Callable[[int], bytes],
        tracing: Tracing | None = None,
    ) -> None:
        self.folder = folder
        self.database = database
        self.logs = logs
        self.objects = objects
        self.log_states = LogStates(is_shared=database.is_shared)
        self.settings = settings
        self.url = settings.url
        self.job_secret = job_secret
        self.clock = clock
        self.steady = steady
        self.jumps = ClockJumps(self)
        self.randomness = randomness
        self.events = Events()
        self.sessions = Sessions()
        self.peers = Peers(self)
        self.dispatcher = Dispatcher(settings.offer_timeout, self.peers.ready, self.peers.gone)
        self.sign_ins = SignIns()
        self.known_rate = Rate(settings.limits.max_requests_per_minute)
        self.anonymous_rate = Rate(settings.limits.max_anonymous_requests_per_minute)
        self.metrics = Metrics(self)
        self.tracing = tracing
        self.build_traces: BuildTraces | None = None
        if tracing is not None:
            from pipeseal.controlplane.services.build_traces import BuildTraces

            self.build_traces = BuildTraces(tracing, self)
        self.organization_id = ""
        self.registration_digests: dict[str, str] = {}
        self._lock = lock

    def now(self) -> int:
        """Microseconds since the epoch, as the database keeps times."""
        return int((self.clock.now() - self.jumps.pending()) * 1_000_000)

    def new_id(self) -> str:
        """A new identifier."""
        return make_id(self.clock.now(), self.randomness)

    def start(self) -> None:
        """Bind to the running event loop and take up what the database says: sessions and scheduled jobs."""
        self.events.bind()
        self.peers.start()
        now = self.steady()

        def load(tx: Transaction) -> None:
            self.organization_id = agent_store.get_setting(tx, "organization_id") or ""
            self.registration_digests = agent_store.tokens_of_kind(tx, Token.REGISTRATION.value)
            for row in servers.agents_with_session(tx):
                # Nobody could reach a server that was down: every agent gets its full time again.
                session = make_session(row, last_seen=now)
                session.job_accepted_at = now
                self.sessions.add(session)
            for ready in job_store.ready_jobs(tx):
                self.dispatcher.add(ready)

        self.database.read_now(load)

    def close(self) -> None:
        """Finish what is queued and let go of the folder."""
        self.dispatcher.close()
        self.peers.close()
        self.database.close()
        self.objects.close()
        self._lock.close()


def open_plane(
    folder: Path,
    settings: Settings,
    *,
    database_url: str = "",
    object_store: str = "",
    clock: Clock | None = None,
    steady: Callable[[], float] | None = None,
    randomness: Callable[[int], bytes] = os.urandom,
    tracing: Tracing | None = None,
) -> ControlPlane:
    """Open the data folder; on the first run make the database, the secret and the two tokens.

    Parameters:
        folder: made when missing, readable by this user only.
        settings: of the server.
        database_url: a PostgreSQL database, which other servers may share; empty: a file in the folder.
        object_store: where logs and artifacts lie, see `open_object_store`; empty: in the folder.
        clock: tells the time.
        steady: seconds that nobody can put forward or back; of the computer, or of `clock` when that is given.
        randomness: gives random bytes.
        tracing: where spans go; None for nowhere.

    Raises:
        ConfigurationError: `server.data`, the folder cannot be used, or another server uses it.
    """
    steady = steady or (time.monotonic if clock is None else clock.now)
    clock = clock or SystemClock()
    with ExitStack() as undo:
        lock = undo.enter_context(_lock_folder(folder))
        database = _open_database(folder, database_url)
        undo.callback(database.close)
        now = int(clock.now() * 1_000_000)
        organization_id = make_id(clock.now(), randomness)
        database.submit(lambda tx: _first_run(tx, folder, organization_id, randomness, now)).result()
        objects = open_object_store(object_store or str(folder / "objects"))
        undo.callback(objects.close)
        if database.is_shared or object_store:
            _check_belonging(database, objects, randomness)
        plane = ControlPlane(
            folder=folder,
            lock=lock,
            database=database,
            logs=LogObjects(objects, database) if object_store else LogStore(folder / "logs"),
            objects=objects,
            settings=settings,
            job_secret=_shared_job_secret(database, randomness)
            if database.is_shared
            else _job_secret(folder / SECRET_FILE, randomness),
            clock=clock,
            steady=steady,
            randomness=randomness,
            tracing=tracing,
        )
        undo.pop_all()
    return plane


def _open_database(folder: Path, database_url: str) -> Database:
    """The database of the folder, or the one at the URL.

    Raises:
        ConfigurationError: `server.data`.
    """
    if not database_url:
        return Database.open(folder / DATABASE_FILE)
    try:
        from pipeseal.controlplane.store.postgres import PostgresDatabase
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "server.data",
            f"PostgreSQL needs the package {error.name}, which is not installed",
            help="pip install 'pipeseal[postgres]'",
        ) from error
    return PostgresDatabase.open_url(database_url)


def _check_belonging(database: Database, objects: ObjectStore, randomness: Callable[[int], bytes]) -> None:
    """Make sure that the objects are those that the database speaks of; the first server brings the two together.

    Raises:
        ConfigurationError: `server.objects`: the servers of this database keep their objects somewhere else.
        Unavailable: `server.store`.
    """

    def join(tx: Transaction) -> str:
        known = agent_store.get_setting(tx, "object_store_id")
        if known is None:
            known = randomness(16).hex()
            objects.put(STORE_ID_KEY, known.encode())
            agent_store.set_setting(tx, "object_store_id", known)
        return known

    known = database.submit(join).result()
    size = objects.size(STORE_ID_KEY)
    if size is None or objects.get_range(STORE_ID_KEY, 0, size) != known.encode():
        raise ConfigurationError(
            "server.objects",
            "the logs and artifacts that the database speaks of are in another object store",
            help="give every server of a database the same --object-store",
        )


def _shared_job_secret(database: Database, randomness: Callable[[int], bytes]) -> bytes:
    """The secret that job tokens are derived from, the same for all servers of a database; made when missing."""

    def make(tx: Transaction) -> str:
        secret = agent_store.get_setting(tx, "job_token_secret")
        if secret is None:
            secret = randomness(32).hex()
            agent_store.set_setting(tx, "job_token_secret", secret)
        return secret

    return bytes.fromhex(database.submit(make).result())


def _lock_folder(folder: Path) -> IO[bytes]:
    """Make the folder and take it: it stays taken for as long as the file is open, and no longer than this process.

    Raises:
        ConfigurationError: `server.data`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (folder / "lock").open("ab")
    except OSError as error:
        raise ConfigurationError(
            "server.data",
            f"cannot use the data folder {folder}: {error.strerror}",
            help="give the server a folder of its own that it can write",
        ) from error
    try:
        flock(lock, LOCK_EX | LOCK_NB)
    except OSError as error:
        lock.close()
        raise ConfigurationError(
            "server.data",
            f"another server uses the data folder {folder}",
            help="stop it, or give this one another folder with --data",
        ) from error
    return lock


def _first_run(
    tx: Transaction, folder: Path, organization_id: str, randomness: Callable[[int], bytes], now: int
) -> None:
    """Make what a new data folder lacks: the organisation's id and the two tokens, each in a file of its own."""
    if agent_store.get_setting(tx, "organization_id") is None:
        agent_store.set_setting(tx, "organization_id", organization_id)
    for kind, name, prefix in (
        (Token.REGISTRATION.value, REGISTRATION_FILE, PREFIXES[Token.REGISTRATION]),
        ("api", API_FILE, API_PREFIX),
    ):
        if agent_store.tokens_of_kind(tx, kind):
            continue
        given = _given_token(folder / name)
        token = given or make_token(prefix, randomness)
        agent_store.insert_token(tx, digest=digest_token(token), kind=kind, description="of the first run", now=now)
        # Written before the commit: a file without its digest is taken up on the next start; never the reverse.
        if given is None:
            write_private(folder / name, token.encode() + b"\n")


def _given_token(path: Path) -> str | None:
    """The token that was put into a new data folder, or left there by a start that went wrong; None when none was.

    Raises:
        ConfigurationError: `server.data`: it is too short to be one that nobody can guess.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            "server.data", f"cannot read {path}: {error}", help="let the server read its data folder"
        ) from error
    if not _GIVEN_TOKEN.fullmatch(token):
        raise ConfigurationError(
            "server.data",
            f"{path} does not hold a token: 40 to 500 letters, digits, dashes and underscores, and nothing else",
            help="remove the file, and the server makes a token; or put in what `openssl rand -hex 32` says",
        )
    return token


def _job_secret(path: Path, randomness: Callable[[int], bytes]) -> bytes:
    """The secret that job tokens are derived from; made when missing, which only ends tokens of running jobs."""
    try:
        secret = path.read_bytes()
    except FileNotFoundError:
        secret = b""
    if len(secret) != 32:
        secret = randomness(32)
        write_private(path, secret)
    return secret


def write_private(path: Path, content: bytes) -> None:
    """Put a file in place with mode 0600, all of it or nothing, durably.

    Raises:
        ConfigurationError: `server.data`.
    """
    temporary = path.with_name(path.name + ".new")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ConfigurationError(
            "server.data",
            f"cannot write {path}: {error.strerror}",
            help="give the server a data folder it can write",
        ) from error
