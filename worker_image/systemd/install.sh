#!/bin/sh
# Installs or removes an edge worker as a systemd service. It can be repeated: existing settings and credentials are kept.
# DESTDIR=FOLDER installs below a folder, for packaging and trials, and starts nothing.
set -eu

PREFIX=/opt/airflow-edge
SERVICE_USER=airflow-edge
NAME=$(uname -n | cut -d. -f1)
WHEELS=
REQUIREMENTS=
PYTHON=python3
API_URL=
EXECUTION_API_URL=
QUEUES=
CONCURRENCY=
DRAIN_TIMEOUT=
CA_BUNDLE=
ALLOW_PLAIN_HTTP=
TOKEN_FILE=
START=yes
PURGE=no
HERE=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

usage() {
    cat <<'USAGE'
install.sh install --api-url URL --wheels FOLDER [OPTIONS]   install, enrol and start the worker
install.sh uninstall [--name NAME] [--purge]                 stop and remove the service; --purge: state and settings, too

  --name NAME               name of the worker; default: the host's name
  --join-token-file FILE    file with the join token; -: stdin
  --queues A,B              queues to serve; default: those of the token, or "default" if the token grants any queue
  --concurrency N           slots for tasks; default: 8
  --drain-timeout SECONDS   how long a stop waits for running tasks; default: 3600
  --execution-api-url URL   Airflow's Execution API as seen from here; default: as the edge API sends it
  --ca-bundle FILE          CA certificates to trust, as PEM; copied to /etc/airflow-edge
  --allow-plain-http        allow an http:// URL of another host, where the network itself is protected
  --wheels FOLDER           folder with the wheels to install, dependencies included (make wheels); no index is asked
  --requirements FILE       instead: requirements file with a hash for every package; pip fetches them as it is configured
                            Without both, a host that has the programs keeps them as they are.
  --python PROGRAM          Python 3.11 or later; default: python3
  --user NAME               user that runs the worker, created if missing; default: airflow-edge
  --prefix FOLDER           where to install the programs; default: /opt/airflow-edge
  --no-start                do not start it
USAGE
}

fail() {
    echo "install.sh: $1" >&2
    exit "${2:-1}"
}

step() {
    echo "==> $1"
}

read_options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --purge) PURGE=yes; shift; continue ;;
            --no-start) START=no; shift; continue ;;
            --allow-plain-http) ALLOW_PLAIN_HTTP=true; shift; continue ;;
            -h | --help) usage; exit 0 ;;
        esac
        [ $# -ge 2 ] || fail "$1 needs a value or is not an option; see: install.sh --help" 2
        case $1 in
            --name) NAME=$2 ;;
            --api-url) API_URL=$2 ;;
            --execution-api-url) EXECUTION_API_URL=$2 ;;
            --join-token-file) TOKEN_FILE=$2 ;;
            --queues) QUEUES=$2 ;;
            --concurrency) CONCURRENCY=$2 ;;
            --drain-timeout) DRAIN_TIMEOUT=$2 ;;
            --ca-bundle) CA_BUNDLE=$2 ;;
            --wheels) WHEELS=$2 ;;
            --requirements) REQUIREMENTS=$2 ;;
            --python) PYTHON=$2 ;;
            --user) SERVICE_USER=$2 ;;
            --prefix) PREFIX=$2 ;;
            *) fail "unknown option $1; see: install.sh --help" 2 ;;
        esac
        shift 2
    done
    case $NAME in
        '' | [!A-Za-z0-9]* | *[!A-Za-z0-9._-]* | *[!A-Za-z0-9])
            fail "--name '$NAME' is not a valid name: letters, digits, '.', '_' and '-', with a letter or digit at both ends" 2 ;;
    esac
    case $DRAIN_TIMEOUT in *[!0-9]*) fail "--drain-timeout '$DRAIN_TIMEOUT' is not a number of seconds" 2 ;; esac
}

set_paths() {
    ROOT=${DESTDIR:-}
    ETC=$ROOT/etc/airflow-edge
    UNITS=$ROOT/etc/systemd/system
    STATE=$ROOT/var/lib/airflow-edge/$NAME
    PROGRAM=$ROOT$PREFIX/bin/edge-worker
    SERVICE=edge-worker@$NAME.service
}

# With DESTDIR, steps that need a running systemd are skipped; links to units are created as usual.
reload_units() {
    [ -n "$ROOT" ] || systemctl daemon-reload
}

enable_service() {
    systemctl --quiet ${ROOT:+--root="$ROOT"} enable "$SERVICE"
    [ -n "$ROOT" ] || systemctl start "$SERVICE" || fail "the service did not start; see: journalctl -u $SERVICE"
}

disable_service() {
    systemctl --quiet ${ROOT:+--root="$ROOT"} disable "$SERVICE" || true
    [ -n "$ROOT" ] || systemctl stop "$SERVICE"
}

check_host() {
    [ -n "$API_URL" ] || [ -e "$ETC/$NAME.env" ] || fail "--api-url is missing: the base URL of the edge API" 2
    "$PYTHON" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail "$PYTHON is not Python 3.11 or later with venv; install it (Debian: python3-venv) or select another one with --python"
    check_source
    command -v systemctl >/dev/null || fail "this host has no systemd; see docs/bare-host-compose.md"
    [ -n "$ROOT" ] || [ "$(id -u)" = 0 ] || fail "run it as root (or with DESTDIR set, for a trial)"
}

# Programs are installed as root, so they never come from an index by a mere name, which anybody could have registered.
check_source() {
    if [ -n "$WHEELS" ]; then
        [ -z "$REQUIREMENTS" ] || fail "--wheels and --requirements exclude each other" 2
        set -- "$WHEELS"/airflow_edge_worker-*.whl
        [ -e "$1" ] || fail "--wheels '$WHEELS' has no wheel of airflow-edge-worker; 'make wheels' in this project makes such a folder" 2
    elif [ -n "$REQUIREMENTS" ]; then
        [ -f "$REQUIREMENTS" ] || fail "--requirements '$REQUIREMENTS' is not a file" 2
    else
        [ -x "$PROGRAM" ] || fail "--wheels is missing: a folder with the wheels to install; or give --requirements" 2
    fi
}

make_user() {
    if id -u "$SERVICE_USER" >/dev/null 2>&1; then
        return
    fi
    step "user $SERVICE_USER"
    useradd --system --home-dir /var/lib/airflow-edge --no-create-home --shell /usr/sbin/nologin "$SERVICE_USER"
}

install_programs() {
    if [ -z "$WHEELS$REQUIREMENTS" ]; then
        step "programs in $ROOT$PREFIX stay as they are; --wheels or --requirements upgrades them"
        return
    fi
    step "programs in $ROOT$PREFIX"
    [ -x "$ROOT$PREFIX/bin/python" ] || "$PYTHON" -m venv "$ROOT$PREFIX"
    if [ -n "$WHEELS" ]; then
        # No index and no pip configuration, which could name more places to look for packages.
        PIP_CONFIG_FILE=/dev/null run_pip --isolated --no-index --find-links "$WHEELS" "$WHEELS"/*.whl
    else
        run_pip --require-hashes --only-binary :all: --requirement "$REQUIREMENTS"
    fi
    [ -x "$PROGRAM" ] || fail "$REQUIREMENTS does not name airflow-edge-worker" 2
    mkdir -p "$ROOT/usr/local/bin"
    ln -sfn "$PREFIX/bin/edge-worker" "$ROOT/usr/local/bin/edge-worker"
}

run_pip() {
    "$ROOT$PREFIX/bin/python" -m pip install --quiet --disable-pip-version-check "$@" ||
        fail "pip could not install from ${WHEELS:-$REQUIREMENTS}; see above"
}

write_settings() {
    group=$(id -gn "$SERVICE_USER")
    mkdir -p "$ETC"
    chmod 0755 "$ETC"
    if [ -n "$CA_BUNDLE" ]; then
        install -m 0644 "$CA_BUNDLE" "$ETC/$NAME.ca.pem"
    fi
    if [ -e "$ETC/$NAME.env" ]; then
        step "settings in $ETC/$NAME.env stay as they are"
        return
    fi
    step "settings in $ETC/$NAME.env"
    (umask 077 && settings >"$ETC/$NAME.env.new")
    chgrp "$group" "$ETC/$NAME.env.new"
    chmod 0640 "$ETC/$NAME.env.new"
    mv "$ETC/$NAME.env.new" "$ETC/$NAME.env"
}

settings() {
    echo "# Settings of the worker, as EDGE_WORKER_<OPTION>, and of Airflow, as AIRFLOW__<SECTION>__<KEY>."
    echo "# Changes take effect after: systemctl restart edge-worker@$NAME"
    echo "EDGE_WORKER_API_URL=$API_URL"
    [ -z "$ALLOW_PLAIN_HTTP" ] || echo "EDGE_WORKER_ALLOW_PLAIN_HTTP=$ALLOW_PLAIN_HTTP"
    [ -z "$EXECUTION_API_URL" ] || echo "EDGE_WORKER_EXECUTION_API_URL=$EXECUTION_API_URL"
    [ -z "$QUEUES" ] || echo "EDGE_WORKER_QUEUES=$QUEUES"
    [ -z "$CONCURRENCY" ] || echo "EDGE_WORKER_CONCURRENCY=$CONCURRENCY"
    [ -z "$DRAIN_TIMEOUT" ] || echo "EDGE_WORKER_DRAIN_TIMEOUT_S=$DRAIN_TIMEOUT"
    [ -z "$CA_BUNDLE" ] || echo "EDGE_WORKER_CA_BUNDLE=/etc/airflow-edge/$NAME.ca.pem"
}

install_unit() {
    step "unit $SERVICE"
    mkdir -p "$UNITS"
    sed -e "s|^ExecStart=/opt/airflow-edge/|ExecStart=$PREFIX/|" -e "s|^User=.*|User=$SERVICE_USER|" \
        -e "s|^Group=.*|Group=$(id -gn "$SERVICE_USER")|" "$HERE/edge-worker@.service" >"$UNITS/edge-worker@.service"
    chmod 0644 "$UNITS/edge-worker@.service"
    if [ -n "$DRAIN_TIMEOUT" ]; then
        mkdir -p "$UNITS/$SERVICE.d"
        printf '[Service]\nTimeoutStopSec=%s\n' "$((DRAIN_TIMEOUT + 100))" >"$UNITS/$SERVICE.d/drain.conf"
    fi
    reload_units
}

# Runs a command as the worker's user, with the worker's settings and without the rest of this shell's environment.
as_worker() {
    set -- env -i PATH="$PATH" HOME="$STATE" EDGE_WORKER_NAME="$NAME" EDGE_WORKER_STATE_DIR="$STATE" "$@"
    if [ "$(id -un)" = "$SERVICE_USER" ]; then
        "$@"
    else
        runuser -u "$SERVICE_USER" -- "$@"
    fi
}

setting() {
    sed -n "s/^EDGE_WORKER_$1=//p" "$ETC/$NAME.env"
}

enrol() {
    mkdir -p "$STATE"
    chmod 0700 "$STATE"
    chown "$SERVICE_USER:$(id -gn "$SERVICE_USER")" "$STATE"
    if [ -e "$STATE/credential.json" ]; then
        step "enrolled already"
        return
    fi
    if [ -z "$TOKEN_FILE" ]; then
        START=no
        return
    fi
    step "enrolment as $NAME"
    [ "$TOKEN_FILE" = - ] || exec <"$TOKEN_FILE"
    set -- enroll --join-token-file - --api-url "$(setting API_URL)"
    [ "$(setting ALLOW_PLAIN_HTTP)" != true ] || set -- "$@" --allow-plain-http
    [ -z "$(setting CA_BUNDLE)" ] || set -- "$@" --ca-bundle "$ROOT$(setting CA_BUNDLE)"
    [ -z "$(setting QUEUES)" ] || set -- "$@" --queues "$(setting QUEUES)"
    as_worker "$PROGRAM" "$@" || fail "the worker could not enrol; fix the cause and run this again" "$?"
}

say_next() {
    echo
    if [ -e "$STATE/credential.json" ]; then
        echo "Worker $NAME is enrolled."
    else
        echo "Worker $NAME is not enrolled. Create a join token (edge-api token create --name-pattern $NAME --uses 1) and run"
        echo "  $0 install --name $NAME --join-token-file FILE"
    fi
    echo "Next: set where Airflow finds its DAG files in /etc/airflow-edge/$NAME.env, for example"
    echo "  AIRFLOW__CORE__DAGS_FOLDER=/srv/dags"
    echo "then: systemctl enable $SERVICE && systemctl restart $SERVICE"
    echo "Check: edge-worker status --name $NAME; journalctl -u edge-worker@$NAME"
}

do_install() {
    check_host
    make_user
    install_programs
    write_settings
    install_unit
    enrol
    if [ "$START" = yes ]; then
        enable_service
    fi
    say_next
}

do_uninstall() {
    [ -n "$ROOT" ] || [ "$(id -u)" = 0 ] || fail "run it as root"
    step "service $SERVICE; running tasks end first"
    disable_service
    rm -rf "$UNITS/$SERVICE.d"
    if [ "$PURGE" = yes ]; then
        rm -rf "$STATE" "$ETC/$NAME.env" "$ETC/$NAME.token" "$ETC/$NAME.ca.pem"
    fi
    set -- "$ETC"/*.env
    if [ "$PURGE" = yes ] && [ ! -e "$1" ]; then
        step "programs; this was the last worker of the host"
        rm -rf "$ROOT${PREFIX:?}" "$ROOT/usr/local/bin/edge-worker" "$UNITS/edge-worker@.service" "$ETC"
        rmdir "$ROOT/var/lib/airflow-edge" 2>/dev/null || true
    fi
    reload_units
    echo
    [ "$PURGE" = yes ] || echo "Settings and state of $NAME are kept; --purge removes them."
    echo "Revoke its credential: edge-api worker revoke $NAME"
}

command=${1:-}
case $command in
    install | uninstall) shift ;;
    -h | --help | '') usage; [ -n "$command" ] || exit 2; exit 0 ;;
    *) fail "unknown command $command; see: install.sh --help" 2 ;;
esac
read_options "$@"
set_paths
"do_$command"
