#!/bin/sh
# Stops a server in its tracks (SIGSTOP), and returns when it stands still.
set -eu
pidfile="${LLAMA_PIDS:-/tmp}/llama-$LLMUX_PORT.pid"
[ -s "$pidfile" ] || exit 0
pid=$(cat "$pidfile")
kill -STOP "$pid" 2>/dev/null || exit 0
until ps -o stat= -p "$pid" | grep -q '^[TZ]'; do sleep 0.05; done
