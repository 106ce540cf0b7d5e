"""Keys: JSON Web Keys and sets of them, which algorithms there are, and where keys are kept.

A new home for keys (a key service, a token) is one new file here and one line in `open.py`.
"""
