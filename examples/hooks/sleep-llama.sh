#!/bin/sh
# Puts a llama.cpp server to sleep: stops it and waits until it is gone, and its memory with it.
set -eu
pidfile="${XDG_RUNTIME_DIR:-/tmp}/llama-$LLMUX_PORT.pid"
[ -s "$pidfile" ] || exit 0
pid=$(cat "$pidfile")
kill "$pid" 2>/dev/null || true
tries=0
while kill -0 "$pid" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || kill -9 "$pid" 2>/dev/null || true
    sleep 0.1
done
rm -f "$pidfile"
