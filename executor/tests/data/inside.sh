echo "== status"
grep -E '^(Uid|Gid|Groups|NSpid|Cap|NoNewPrivs|Seccomp)' /proc/self/status | grep -v NSpid
echo "== signals"
grep -E '^Sig(Blk|Ign)' /proc/self/status
echo "== ids"
tr -s ' ' < /proc/self/uid_map
tr -s ' ' < /proc/self/gid_map
cat /proc/self/setgroups
echo "== pid"
echo $$
echo "== identity"
id
pwd
hostname
umask
tty
set -- /proc/[0-9]*
echo "$# processes"
echo "== inherited"
grep -v ^Limit /proc/self/limits | tr -s ' '
echo "oom $(cat /proc/self/oom_score_adj)"
echo "== namespaces"
for namespace in cgroup ipc mnt net pid user uts; do
	echo "$namespace $(readlink /proc/self/ns/$namespace)"
done
echo "== cgroups"
cut -d: -f3 /proc/self/cgroup | sort -u
echo "== env"
env | sort
echo "== mounts"
while read source target type options rest; do
	case $target in
	/) echo "$target $type" ;;
	/dev/* | /proc/*) case $type in devtmpfs) echo "$target $type" ;; *) echo "$target $type $options" ;; esac ;;
	/etc/*) echo "$target $type ${options%%,mode=*}" ;;
	*) echo "$target $type $options" ;;
	esac
done < /proc/mounts
echo "== dev"
for node in /dev/*; do
	if [ -L $node ]; then echo "$node -> $(readlink $node)"; else stat -c '%A %U %G %t,%T %n' $node; fi
done
echo "== masked"
for path in /proc/kcore /proc/keys /proc/timer_list /proc/sched_debug /proc/acpi /proc/scsi \
	/sys/firmware /proc/asound /sys/devices/virtual/powercap; do
	[ -e $path ] || continue
	if [ -d $path ]; then ls $path | wc -l | sed "s|^|$path |"; else stat -c '%n %F %t,%T' $path; fi
done
echo "== writes refused"
for path in /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/sys/vm/drop_caches /sys/kernel/mm/ksm/run; do
	[ -e $path ] || continue
	( echo 1 > $path ) 2>/dev/null && echo "$path written"
done
echo "== hosts"
cat /etc/hosts
echo "== descriptors"
for fd in /proc/self/fd/*; do
	case $(readlink $fd) in pipe:*) echo "${fd##*/} pipe" ;; esac
done
read line || echo "stdin ends"
echo "== syscalls"
mount -t tmpfs x /tmp 2>/dev/null || echo "mount refused"
unshare -m true 2>/dev/null || echo "unshare refused"
exec 2>/dev/null
mknod /tmp/c c 1 3 && echo "mknod ok"
mknod /tmp/b b 8 0 && echo "mknod blk ok"
touch /tmp/c
( echo x > /tmp/b ) 2>/dev/null || echo "block device refused"
mknod /tmp/k c 1 1
dd if=/tmp/k of=/dev/null count=1 2>/dev/null || echo "memory refused"
chown 5:6 /tmp/c && echo "chown ok"
chroot / /bin/true && echo "chroot ok"
date -s 2020-01-01 2>&1 | grep -q "can.t set date" && echo "date refused"
hostname x 2>/dev/null || echo "hostname refused"
dmesg >/dev/null 2>&1 || echo "dmesg refused"
nsenter -t 1 -m true 2>/dev/null || echo "nsenter refused"
renice -n -5 $$ 2>/dev/null || echo "renice refused"
umount /proc/sys 2>/dev/null || echo "umount refused"
mount -o remount,rw /sys 2>/dev/null || echo "remount refused"
pivot_root / /tmp 2>/dev/null || echo "pivot_root refused"
losetup /dev/loop0 /bin/busybox 2>/dev/null || echo "losetup refused"
swapon /bin/busybox 2>/dev/null || echo "swapon refused"
ping -c1 -w2 127.0.0.1 >/dev/null 2>&1 && echo "raw socket ok"
exit 0
