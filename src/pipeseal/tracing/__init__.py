"""Traces: what agent and server measured of builds, jobs and requests, sent to a collector by OpenTelemetry.

Off unless an operator switches it on; then only is anything of OpenTelemetry imported (`open.py`). Nothing here may
delay or fail what is measured.
"""
