#!/usr/bin/env bash
# Build kube-apiserver and kube-controller-manager from Debian's own source package (bookworm, 1.20.2).
# Usage: build.sh DEST_DIR [WORK_DIR]      needs root and apt; some minutes on 2 cores. The last resort of binaries.py.
set -euo pipefail
dest=$(realpath -m "$1")
if [ $# -gt 1 ]; then
  work=$(realpath -m "$2")
else
  work=$(mktemp -d)
  # Sources and Go's cache are some gigabytes.
  trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
fi
mkdir -p "$dest" "$work"

echo "==> Installing Go and build tools"
# The source package comes from the mirror that the machine already uses.
# shellcheck disable=SC2016  # it is apt-get that expands this
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -1)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb-src [signed-by=$keyring] $mirror bookworm main" > /etc/apt/sources.list.d/bookworm-src.list
apt-get update -qq
# The vendored reflect2 1.0.1 crashes the apiserver when built with Go 1.18 or newer; Debian packages 1.0.2.
apt-get install -y -qq golang-1.19-go golang-github-modern-go-reflect2-dev dpkg-dev rsync jq make gcc > /dev/null

echo "==> Fetching the source"
cd "$work"
apt-get source -qq kubernetes/bookworm > /dev/null
cd "$(find "$work" -maxdepth 1 -type d -name 'kubernetes-*' | head -1)"
rm -rf vendor/github.com/modern-go/reflect2
cp -r /usr/share/gocode/src/github.com/modern-go/reflect2 vendor/github.com/modern-go/reflect2
rm -f vendor/github.com/modern-go/reflect2/go.mod

cat > "$work/version" <<'V'
KUBE_GIT_COMMIT='faecb196815e248d3ecfb03c680a4507229c2a56'
KUBE_GIT_TREE_STATE='archive'
KUBE_GIT_VERSION='v1.20.2'
KUBE_GIT_MAJOR='1'
KUBE_GIT_MINOR='20'
V
echo "==> Compiling"
# -v: a line of output for each package shows the progress.
export GOFLAGS=-v
export PATH=/usr/lib/go-1.19/bin:$PATH CGO_ENABLED=0 GOCACHE="$work/cache" KUBE_GIT_VERSION_FILE="$work/version"
binaries="kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy"
make WHAT="${binaries//kube/cmd/kube}" GOLDFLAGS="-s -w"
for binary in $binaries; do
  echo "==> $binary is ready"
  install -m 0755 "_output/local/go/bin/$binary" "$dest/$binary"
done
