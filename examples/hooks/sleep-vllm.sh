#!/bin/sh
# Sends a vLLM to sleep: its weights go to main memory. Returns when it sleeps.
set -eu
base="http://127.0.0.1:$LLMUX_PORT"
asleep() { curl -fsS "$base/is_sleeping" | grep -q true; }

asleep || curl -fsS -o /dev/null -X POST "$base/sleep?level=1"
until asleep; do sleep 0.1; done
