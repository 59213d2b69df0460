#!/bin/sh
# Cargo calls this as `RUSTC_WRAPPER rustc ARGS…`. InfluxDB's Rust part denies warnings, and compilers that are
# newer than it have warnings that it did not know.
exec "$@" --cap-lints warn
