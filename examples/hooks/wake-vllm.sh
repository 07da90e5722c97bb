#!/bin/sh
# Wakes a vLLM from its sleep mode, and is sure of it. Harmless when it is awake already.
set -eu
base="http://127.0.0.1:$LLMUX_PORT"
asleep() { curl -fsS "$base/is_sleeping" | grep -q true; }

if asleep; then
    curl -fsS -o /dev/null -X POST "$base/wake_up"
fi
while asleep; do sleep 0.1; done
