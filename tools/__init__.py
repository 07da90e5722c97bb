"""Commands for those who work on llmux; nothing of it is installed."""
