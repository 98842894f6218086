#!/bin/sh
# Installs packages in image builds: pinned versions with hashes, wheels only.
# Usage: install.sh LOCK_FILE [UV_OPTION...]       installs into /opt/venv by default
set -eu
lock=$1
shift
[ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX="$PIP_INDEX_URL"
uv pip install --quiet --python /opt/venv/bin/python --require-hashes --no-deps --only-binary :all: -r "$lock" "$@"
cd /opt/venv/lib/python3*/site-packages
# Remove what nothing imports: test suites inside packages, and C and Cython sources.
find . -depth -type d -name tests ! -path './airflow/*' -exec rm -rf {} +
find . -type f \( -path './kubernetes/*_test.*' -o -name '*.pyx' -o -name '*.c' -o -name '*.h' \) -delete
# Remove debug symbols, which are a quarter of some environments. Libraries that are bundled in a wheel were patched when it was
# built, and strip can break those.
find . -type f -name '*.so' ! -path '*.libs/*' ! -path './psycopg_binary/*' -exec strip --strip-unneeded {} +
