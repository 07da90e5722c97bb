"""What nobody sends, fed to the real functions by the million: grammars and mutations, no noise.

Each file beside this one aims at one door of llmux (`Target`); `hunt` feeds it and holds the rules
that are the same for all: nothing raises what it did not promise, nothing costs a hundred times
its size in memory, nothing takes time that grows with the square of its size.
"""
