"""`python -m llmux` is the command `llmux`."""

from llmux.cli.main import main

if __name__ == "__main__":
    main()
