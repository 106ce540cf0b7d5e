"""Opening the ledger that the settings name."""

from __future__ import annotations

from pathlib import Path

from pipeseal.agent.ledger.ledger import Ledger
from pipeseal.agent.settings import AgentSettings
from pipeseal.errors import ConfigurationError

SCHEMES = ("postgresql://", "postgres://")


def open_ledger(settings: AgentSettings) -> Ledger | None:
    """The ledger; None for an agent that verifies nothing, and so has nothing to count.

    Parameters:
        settings: the operator's; `ledger` is a file, or the address of a PostgreSQL database.

    Raises:
        ConfigurationError: as `SqliteLedger` and `PostgresLedger`; `config.value`, an address of another kind, or the
            library for PostgreSQL is missing.
    """
    if settings.verification_jwks_file is None:
        return None
    where = settings.ledger
    if where.startswith(SCHEMES):
        try:
            from pipeseal.agent.ledger.postgres import PostgresLedger
        except ImportError as error:
            raise ConfigurationError(
                "config.value",
                f"a ledger in PostgreSQL needs a library that is not installed: {error.name}",
                help="pip install 'pipeseal[postgres]'",
            ) from None
        return PostgresLedger(where)
    if "://" in where:
        raise ConfigurationError(
            "config.value",
            f"ledger is an address that begins with {where.partition('://')[0]!r}",
            help="give the path of a file, or postgresql://USER:PASSWORD@HOST/DATABASE",
        )
    from pipeseal.agent.ledger.sqlite import SqliteLedger

    return SqliteLedger(Path(where))
