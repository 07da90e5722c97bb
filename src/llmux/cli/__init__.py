"""The command `llmux`: verbs, options, exit codes and the banner."""
