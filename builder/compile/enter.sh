#!/bin/sh
# enter.sh ROOT AT FOLDER… -- COMMAND: put a root together on a tmpfs at AT and run COMMAND in it.
set -e
root=$1 new=$2; shift 2
mount -t tmpfs -o mode=755 root "$new"
mkdir "$new/usr" "$new/etc" "$new/proc" "$new/dev" "$new/tmp"
mount --rbind "$root/usr" "$new/usr"
mount --rbind /proc "$new/proc"
mount --rbind /dev "$new/dev"
for name in bin sbin lib lib64; do ln -s "usr/$name" "$new/$name"; done
cp -R "$root/etc/." "$new/etc"
for name in resolv.conf hosts passwd group; do cp "/etc/$name" "$new/etc/$name" 2>/dev/null || :; done
while [ "$1" != -- ]; do mkdir -p "$new$1"; mount --rbind "$1" "$new$1"; shift; done
shift
cd /
# An ordinary user's PATH may lack it.
chroot=$(PATH=$PATH:/usr/sbin:/sbin command -v chroot)
exec "$chroot" "$new" "$@"
