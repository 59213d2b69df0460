#!/usr/bin/env bash
# Makes the files that deploy/compose.yaml mounts as secrets, each with a random value of its own, and keeps
# those that are there. TELEGRAM_BOT_TOKEN and TSOBS_NOTIFY_URLS stay
# empty until you write them. As root it also gives each file to
# the one user that reads it; as anybody else, do what it prints.
#
#   deploy/secrets.sh [DIRECTORY]      # secrets/ in the checkout
set -euo pipefail
umask 077

directory=${1:-"$(dirname -- "${BASH_SOURCE[0]}")/../secrets"}
mkdir -p -- "$directory"
cd -- "$directory"

# random BYTES
random() {
  od -An -vtx1 -N "$1" /dev/urandom | tr -d ' \n'
}

# keep NAME VALUE: writes the file unless it is there; without a line's end, which Kubernetes would hand on
keep() {
  [[ -e $1 ]] || printf %s "$2" >"$1"
}

keep sidecar_token "$(random 32)"
keep postgres_password "$(random 24)"
keep influxdb_password "$(random 16)"
keep INFLUXDB_V2_TOKEN "$(random 32)"
[[ -e TELEGRAM_BOT_TOKEN ]] || : >TELEGRAM_BOT_TOKEN
[[ -e TSOBS_NOTIFY_URLS ]] || : >TSOBS_NOTIFY_URLS
password=$(<postgres_password)
keep TSOBS_DATABASE_URL "postgresql+psycopg2://tsobs:$password@postgres/tsobs"
keep TSOBS_DAGSTER_DATABASE_URL "postgresql://tsobs:$password@postgres/tsobs"

# owner USER FILES…
owner() {
  local user=$1
  shift
  if ((EUID == 0)); then
    chown -- "$user" "$@"
  else
    echo "sudo chown $user $*"
  fi
  chmod 0400 -- "$@" 2>/dev/null || true
}

owner 8765 sidecar_token TSOBS_DATABASE_URL TSOBS_DAGSTER_DATABASE_URL TELEGRAM_BOT_TOKEN TSOBS_NOTIFY_URLS
owner 999 postgres_password
owner 1000 influxdb_password
# Read by InfluxDB's first start (1000) and by tsobs (group 8765).
owner 1000:8765 INFLUXDB_V2_TOKEN
chmod 0440 INFLUXDB_V2_TOKEN 2>/dev/null || true
