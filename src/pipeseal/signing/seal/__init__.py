"""The seal: one closed, signed envelope for each step, which an agent runs from. `docs/spec/seal.md` is its text.

`make.py` makes seals, `parse.py` reads them, `verify.py` proves them, `compare.py` holds a job against a proven one
and gives what may be run. `envelope.py` has the types, `members.py` what of a step is sealed, `jws.py` the outermost
layer.
"""
