"""The web page: files that browsers load as they are. Nothing is built; `http/pages.py` serves them."""
