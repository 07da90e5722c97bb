#!/bin/sh
# Says no for a server that stands still: its port accepts all the same.
set -eu
pidfile="${LLAMA_PIDS:-/tmp}/llama-$LLMUX_PORT.pid"
[ -s "$pidfile" ] || exit 1
! ps -o stat= -p "$(cat "$pidfile")" | grep -q '^[TZ]' || exit 1
curl -fsS -m 4 -o /dev/null "http://127.0.0.1:$LLMUX_PORT/health"
