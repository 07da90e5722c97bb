# What every hook of the crash matrix runs, with the LLMUX_ variables that hooks get:
#
#     sh crash_hook.sh SITE KIND LOAD SECONDS PYTHON
#
# KIND is `ends` (its server ends when the model sleeps) or `stays`. It notes its begin and end in
# the site's history, and a violation where another hook holds the lock of hooks. Faults are files:
# `fail-wake.MODEL`, `fail-sleep.MODEL`, `slow.MODEL`.
cd "$1" || exit 9
site=$1 kind=$2 load=$3 seconds=$4 python=$5
exec 9>>hooks.lock

note() {
    read -r now _ </proc/uptime
    echo "$now hook $1 $LLMUX_MODEL $LLMUX_HOOK $LLMUX_HOOK_ID $2" >>history
}

engine() { "$python" -I -S "${0%_hook.sh}_engine.py" "$@" 9>&-; }

fail() {
    note failed "$1"
    exit 1
}

trap 'note ended; exit 143' TERM
flock -n 9 || note violation "two hooks at once"
note begin "$LLMUX_REASON"
while [ -e "slow.$LLMUX_MODEL" ]; do sleep 0.05; done
sleep "$seconds"
pid=$(cat "pid.$LLMUX_PORT" 2>/dev/null)
grep -qF "$site" "/proc/${pid:-none}/cmdline" 2>/dev/null || pid=

if [ "$LLMUX_HOOK" = wake ]; then
    if [ "$kind" = stays ] && [ -n "$pid" ]; then
        engine tell "$LLMUX_PORT" wake || fail "the server does not wake"
    else
        engine start "$LLMUX_MODEL" "$LLMUX_PORT" "$site" "$kind" "$load" || fail "no server"
    fi
    [ -e "fail-wake.$LLMUX_MODEL" ] && fail "it is told to, with its server half up"
elif [ -e "fail-sleep.$LLMUX_MODEL" ]; then
    [ -z "$pid" ] || kill -STOP "$pid"
    fail "it is told to, with its server stopped"
elif [ -n "$pid" ]; then
    if [ "$kind" = stays ]; then
        kill -CONT "$pid"
        engine tell "$LLMUX_PORT" sleep || fail "the server does not sleep"
    else
        kill -TERM "$pid"
        kill -CONT "$pid"
        flock -w 5 "engine.$LLMUX_PORT.lock" true || fail "the server does not end"
    fi
fi
sleep "$seconds"
note end
