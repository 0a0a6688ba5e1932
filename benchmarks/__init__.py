"""What our work costs beside the best peer, measured in one run: ``python -m benchmarks [NAME...]``.

Only ratios within one run count: contestants take turns, so that what else the machine does meets all
of them. A round-robin of our own instead of pyperf or pytest-benchmark, because those run one
contestant to its end before the next.
"""
