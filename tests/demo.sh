#!/usr/bin/env bash
# Shows the whole road on a real VM disk with a partition table and an ext4
# root, in two versions: capture both, mount, list the tree, copy a file out,
# convert an image, unmount. Needs root; leaves nothing behind, also when it
# fails. make demo calls it.
set -euo pipefail
cd "$(dirname "$0")/.."

[[ $(id -u) -eq 0 ]] || { echo "demo: run it as root (make demo does): it mounts disks" >&2; exit 1; }
.ci/deps

bin=$PWD/bin/holdfast
if [[ ! -x $bin ]]; then
	CGO_ENABLED=0 go build -buildvcs=false -o "$bin" ./cmd/holdfast
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-demo.XXXXXX")
mnt=$work/mnt guest=$work/guest
cleanup() {
	local status=$?
	trap - EXIT INT TERM
	mountpoint -q "$guest" && umount "$guest"
	mountpoint -q "$mnt" && { umount "$mnt" || umount -l "$mnt"; }
	# The mount's process still closes the store: its lock says when it has.
	[[ ! -e $work/store/lock ]] || flock -w 10 "$work/store/lock" true || true
	rm -rf "$work"
	[[ $status -eq 0 ]] || echo "demo: failed (status $status)" >&2
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

bold='' plain=''
if [[ -t 1 ]]; then bold=$'\033[1m' plain=$'\033[0m'; fi
step() { printf '\n%s# %s%s\n' "$bold" "$*" "$plain"; }
# run shows a command as a person would type it, then runs it.
run() {
	local line=$*
	line=${line//$bin/holdfast}
	printf '$ %s\n' "${line//$work\//}"
	"$@"
}

step "A small VM disk with a partition table and an ext4 root, and the same a day later"
mkdir -p "$mnt" "$guest"
go run -buildvcs=false ./tests/vm/build -kind small -out "$work" -change 1 >/dev/null
cd "$work"
mv small.raw monday.raw
mv small-changed.raw tuesday.raw
ls -lsh ./*.raw

step "Make a store and capture both versions"
export HOLDFAST_STORE=$work/store
run "$bin" init store
run "$bin" capture --vm web --at 2026-11-16T20:00:00Z vda=monday.raw
run "$bin" capture --vm web --at 2026-11-17T20:00:00Z vda=tuesday.raw
run "$bin" list web

step "Mount the store: every version is there as raw, qcow2, VHD, VHDX and VMDK"
run "$bin" mount --background mnt
run ls -l mnt/web mnt/web/latest/

step "The bytes are those of the source, but for what the guest has freed: that reads as zeros"
run cmp mnt/web/2026-11-16T20-00-00Z/vda.raw monday.raw
echo "identical: nothing was freed on this one yet"
run "$bin" verify web --against tuesday.raw

step "Copy a file out of Tuesday's version: the guest's own files are in the tree"
volume=$(dirname "$(ls -d mnt/web/latest/files/vda/*/etc | tail -n 1)")
run ls "$volume"
run cp -a "$volume/etc/holdfast-marker" tuesday-marker
run cat tuesday-marker

step "The same of Monday's, by the kernel: it mounts the guest's root from the image"
raw=mnt/web/2026-11-16T20-00-00Z/vda.raw
start=$(sfdisk --json "$raw" | grep -o '"start": *[0-9]*' | tail -n 1 | grep -o "[0-9]*$")
run mount -o "ro,noload,loop,offset=$((start * 512))" "$raw" "$guest"
run ls "$guest"
run cp "$guest/etc/holdfast-marker" marker
run cat marker
run umount "$guest"

step "Prove every chunk"
run "$bin" scrub --deep
run "$bin" list web

step "Convert an image with qemu-img, and compare"
run qemu-img convert -O qcow2 mnt/web/latest/vda.qcow2 converted.qcow2
run qemu-img compare converted.qcow2 mnt/web/latest/vda.raw

step "Restore works while the mount is up; so does everything else"
run "$bin" restore web@2026-11-16 --format vmdk monday.vmdk
run qemu-img compare monday.vmdk monday.raw
run "$bin" status

step "Unmount"
run umount mnt
printf '\nThe demo is done; %s is removed.\n' "$work"
