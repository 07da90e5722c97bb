#!/bin/sh
# Puts a llama.cpp server to sleep: stops it and waits until it is gone, and its memory with it.
set -eu
pidfile="${LLAMA_PIDS:-/tmp}/llama-$LLMUX_PORT.pid"
# One that has ended counts as gone, although nobody buries it in a container without an init.
runs() { kill -0 "$1" 2>/dev/null && ! grep -qs '^State:.Z' "/proc/$1/status"; }

[ -s "$pidfile" ] || exit 0
pid=$(cat "$pidfile")
kill "$pid" 2>/dev/null || true
tries=0
while runs "$pid"; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || kill -9 "$pid" 2>/dev/null || true
    sleep 0.1
done
rm -f "$pidfile"
