#!/usr/bin/env bash
# Installs what some tests compare with or drive, and npm does not bring: redis-server with its tools and faketime
# (Debian), and redis-py and django-redis in a virtual environment of the project (.peers). Tests without them say so and are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()
command -v redis-server >/dev/null || packages+=(redis-server)
command -v faketime >/dev/null || packages+=(faketime)
if [ ${#packages[@]} -gt 0 ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${packages[@]}" >/dev/null
fi
if [ ! -x .peers/bin/python ]; then python3 -m venv .peers; fi
.peers/bin/pip install --quiet --disable-pip-version-check redis==8.1.0 django==5.2.8 django-redis==6.0.0
