"""For people who test a policy or a switch: virtual time, hooks that only pretend, a checker."""

from llmux.testing.checker import check_policy
from llmux.testing.virtual import FakeHooks, FakeOutcome, VirtualLoop, run_virtual

__all__ = ["FakeHooks", "FakeOutcome", "VirtualLoop", "check_policy", "run_virtual"]
