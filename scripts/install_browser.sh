#!/usr/bin/env bash
# Makes sure that there is a Chromium for the tests of the page. Does nothing when there is one:
# CODA_VOICE_BROWSER, chromium, chromium-browser or google-chrome. Needs root or sudo otherwise.
set -euo pipefail

if [[ -n "${CODA_VOICE_BROWSER:-}" ]]; then
  [[ -x "$CODA_VOICE_BROWSER" ]] || { echo "CODA_VOICE_BROWSER=$CODA_VOICE_BROWSER is no program" >&2; exit 1; }
  exit 0
fi
for name in chromium chromium-browser google-chrome; do
  command -v "$name" > /dev/null && exit 0
done
command -v apt-get > /dev/null || {
  echo "The tests of the page need Chromium: install it, or name one in CODA_VOICE_BROWSER." >&2
  exit 1
}
as_root=()
[[ "$(id -u)" == 0 ]] || as_root=(sudo -n)
echo "installing Chromium for the tests of the page"
"${as_root[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends \
  chromium fonts-dejavu-core > /dev/null
