#!/bin/sh
# Wakes a server that was stopped in its tracks; the first time it starts it.
set -eu
pidfile="${LLAMA_PIDS:-/tmp}/llama-$LLMUX_PORT.pid"
if [ -s "$pidfile" ]; then
    kill -CONT "$(cat "$pidfile")" 2>/dev/null || true
fi
exec ./wake-llama.sh
