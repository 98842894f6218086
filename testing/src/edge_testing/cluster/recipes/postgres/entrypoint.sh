#!/bin/sh
# Create the database at the first start, then run the server.
set -eu
user=${POSTGRES_USER:-postgres}
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  # Only initdb needs the file, and only this user can read it.
  umask 077
  printf '%s' "$POSTGRES_PASSWORD" > /tmp/password
  initdb --pgdata "$PGDATA" --username "$user" --pwfile /tmp/password --encoding UTF8 --locale C \
    --auth-host scram-sha-256 --auth-local scram-sha-256 > /dev/null
  rm /tmp/password
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  echo "CREATE DATABASE \"${POSTGRES_DB:-$user}\";" | postgres --single -D "$PGDATA" postgres > /dev/null
fi
exec "$@" -c listen_addresses='*' -c unix_socket_directories=/tmp
