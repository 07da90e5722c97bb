"""What relaying costs: nginx, llmux 2.4.0, our bare relay and the whole llmux, side by side.

`python -m bench` (or `make bench`) measures in one run and writes `docs/performance.md`. Nothing
of `llmux` imports this package.
"""
