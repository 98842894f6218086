#!/bin/sh
# Install packages while images are built: pinned versions, known hashes, wheels only.
# Usage: install.sh LOCK_FILE [UV_OPTION...]       into /opt/venv unless an option says otherwise
set -eu
lock=$1
shift
[ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX="$PIP_INDEX_URL"
uv pip install --quiet --python /opt/venv/bin/python --require-hashes --no-deps --only-binary :all: -r "$lock" "$@"
cd /opt/venv/lib/python3*/site-packages
# Nothing imports these: test suites inside packages, and sources in C and Cython.
find . -depth -type d -name tests ! -path './airflow/*' -exec rm -rf {} +
find . -type f \( -path './kubernetes/*_test.*' -o -name '*.pyx' -o -name '*.c' -o -name '*.h' \) -delete
# Symbols for debuggers are a quarter of some environments. Libraries that a wheel brought along were rewritten when it was
# built, which strip does not always survive.
find . -type f -name '*.so' ! -path '*.libs/*' ! -path './psycopg_binary/*' -exec strip --strip-unneeded {} +
