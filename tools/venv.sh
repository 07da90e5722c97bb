#!/bin/sh
# Brings a virtual environment to what a lock says, and does nothing, without network, where that
# is already so. It knows how to find a Python and how to say what is missing; it refuses to know
# what the environment is for.
#
#   tools/venv.sh FOLDER LOCK        PYTHON=/path/to/python tools/venv.sh FOLDER LOCK
#
# Two stamps inside FOLDER remember what was installed: one for the lock and the Python, one for
# the package itself (pyproject.toml and where the tree lies), which installs without network.
set -eu

venv=$1
lock=$2
here=$(pwd)

say() { printf '%s\n' "$*" >&2; }

suits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; }

can_make() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

find_python() {
    old=
    bare=
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14}; do
        command -v "$candidate" >/dev/null 2>&1 || continue
        if suits "$candidate"; then
            if can_make "$candidate"; then
                command -v "$candidate"
                return 0
            fi
            bare=${bare:-$candidate}
        elif [ -z "$old" ]; then
            old=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || old=
        fi
    done
    explain
    return 1
}

# The one command that helps, for the system at hand.
explain() {
    sudo=
    [ "$(id -u)" = 0 ] || sudo="sudo "
    system=
    if [ -r /etc/os-release ]; then
        system=$(. /etc/os-release && printf '%s %s' "${ID:-}" "${VERSION_ID:-}")
    fi
    if [ -n "$bare" ]; then
        name=$("$bare" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        say "llmux: $bare is new enough, but its venv module is missing. What brings it:"
        case $system in
            debian* | ubuntu*)
                [ "$bare" != python3 ] || name=python3-venv
                say "    ${sudo}apt-get update && ${sudo}apt-get install -y $name" ;;
            *) say "    install the package of your system that holds venv and ensurepip for $bare" ;;
        esac
        return
    fi
    if [ -n "${PYTHON:-}" ]; then
        say "llmux: PYTHON=$PYTHON is not a Python from 3.11 to 3.14."
        return
    fi
    say "llmux needs a Python from 3.11 to 3.14; ${old:+python3 is $old and }there is none on the PATH. What brings one:"
    case $system in
        "ubuntu 22.04")
            say "    ${sudo}apt-get update && ${sudo}apt-get install -y python3.11 python3.11-venv" ;;
        "debian 11" | "debian 10" | "ubuntu 20.04" | "ubuntu 18.04")
            say "    nothing from this system's own packages, which end before 3.11: use a newer release, or bring"
            say "    a Python with uv or pyenv and name it: make PYTHON=\"\$(uv python find 3.12)\" ..." ;;
        debian* | ubuntu*)
            say "    ${sudo}apt-get update && ${sudo}apt-get install -y python3 python3-venv" ;;
        *)
            if [ "$(uname -s)" = Darwin ]; then
                say "    brew install python@3.13"
            else
                say "    your system's package manager, uv or pyenv; then: make PYTHON=/path/to/python ..."
            fi ;;
    esac
}

digest() { "$venv/bin/python" -c 'import hashlib, sys
h = hashlib.sha256()
for name in sys.argv[1:]:
    h.update(open(name, "rb").read())
print(h.hexdigest(), sys.version)' "$@"; }

# An environment that somebody made by hand is kept when it works.
if ! { [ -x "$venv/bin/python" ] && suits "$venv/bin/python"; }; then
    python=$(find_python)
    say "llmux: making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
elif ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
    "$venv/bin/python" -m ensurepip >/dev/null
fi

pip() { "$venv/bin/python" -m pip --disable-pip-version-check --no-input --quiet "$@"; }

wanted=$(digest "$lock")
if [ "$(cat "$venv/.lock-stamp" 2>/dev/null || true)" != "$wanted" ]; then
    say "llmux: installing what $lock says into $venv"
    rm -f "$venv/.lock-stamp" "$venv/.package-stamp"
    pip install --require-hashes -r "$lock"
    printf '%s\n' "$wanted" >"$venv/.lock-stamp"
fi

wanted="$(digest pyproject.toml) $here"
if [ "$(cat "$venv/.package-stamp" 2>/dev/null || true)" != "$wanted" ]; then
    pip install --no-index --no-deps --no-build-isolation -e .
    printf '%s\n' "$wanted" >"$venv/.package-stamp"
fi
