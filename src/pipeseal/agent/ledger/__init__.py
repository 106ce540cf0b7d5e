"""The ledger: which jobs were started, so that none starts more often than it may, on whatever agent.

`ledger.py` counts, whatever keeps the rows; `sqlite.py` keeps them in a file of this machine, `postgres.py` in a
database that agents of several machines share; `open.py` chooses. `started.py` has the one type that the runner
takes.
"""
