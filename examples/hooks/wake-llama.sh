#!/bin/sh
# Wakes a llama.cpp server: starts it unless it runs, and waits until it has loaded its model.
set -eu
pidfile="${LLAMA_PIDS:-/tmp}/llama-$LLMUX_PORT.pid"
runs() { kill -0 "$1" 2>/dev/null && ! grep -qs '^State:.Z' "/proc/$1/status"; }
ready() { curl -fsS -o /dev/null "http://127.0.0.1:$LLMUX_PORT/health" 2>/dev/null; }

if ! { [ -s "$pidfile" ] && runs "$(cat "$pidfile")"; }; then
    llama-server --model "$HOME/models/$LLMUX_MODEL.gguf" \
        --host 127.0.0.1 --port "$LLMUX_PORT" --n-gpu-layers 99 &
    echo $! >"$pidfile"
fi
until ready; do
    runs "$(cat "$pidfile")" || { echo "llama-server ended while it loaded" >&2; exit 1; }
    sleep 0.2
done
