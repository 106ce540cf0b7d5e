"""Benchmarks beside their peers: each row runs ours and the reference alternately and reports ratios of medians."""
