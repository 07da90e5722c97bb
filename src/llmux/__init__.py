"""llmux: many LLM backends take turns on one accelerator, behind one OpenAI-compatible door."""

__version__ = "3.0.0"
