#!/usr/bin/env bash
# Print the path of the Chromium that the browser tests drive: CHROMIUM_PATH, else an installed one, else one
# installed through apt when that is allowed; otherwise say what to do.
set -euo pipefail

if [ -n "${CHROMIUM_PATH:-}" ]; then
  [ -x "$CHROMIUM_PATH" ] && { echo "$CHROMIUM_PATH"; exit 0; }
  echo "CHROMIUM_PATH is $CHROMIUM_PATH, which is no program that can be run; correct it or unset it." >&2
  exit 1
fi

installed() {
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    command -v "$name" && return 0
  done
  return 1
}

installed && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "No Chromium found; installing Debian's." >&2
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } >&2
  installed && exit 0
fi
echo "The browser tests need Chromium: install it ('sudo apt install chromium') or set CHROMIUM_PATH to one." >&2
exit 1
