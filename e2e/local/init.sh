#!/usr/bin/env bash
# usage: init.sh DIR COMMAND...
#
# The first process of the cluster's namespaces: gives it cgroups, mounts and an address that are its own, runs COMMAND, and
# buries orphans. The machine's own cgroups, /var, /tmp, /run, sysctls and rules stay as they are.
set -euo pipefail
dir=$1
shift
cgroups=/sys/fs/cgroup

mount --make-rslave /
umount -R "$cgroups"
mount -t tmpfs tmpfs "$cgroups"
for controller in cpu cpuacct cpuset memory devices freezer blkio pids; do
  mkdir "$cgroups/$controller"
  mount -t cgroup -o "$controller" cgroup "$cgroups/$controller"
done
# Without it the shim finds no memory figures, and an out-of-memory kill looks like any other end.
mkdir "$cgroups/systemd"
mount -t cgroup -o none,name=systemd cgroup "$cgroups/systemd"
mount --make-rshared /
mount -t tmpfs tmpfs /run
mkdir /run/netns /run/cluster
# Catches every path below /var and /tmp that a program has built in; the cluster's own folder may be there too.
mount --bind "$dir" /run/cluster
for folder in var tmp; do
  mkdir -p "/run/caught/$folder/upper" "/run/caught/$folder/work"
  caught=/run/caught/$folder
  mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$caught/upper,workdir=$caught/work" "/$folder"
done
mount --bind /run/cluster "$dir"
# Images are unpacked for this run only: in memory they come and go faster. Volumes stay on the disk.
mkdir "$dir/images"
mount -t tmpfs tmpfs "$dir/images"
# The kubelet sets these for the whole machine and ends when it cannot: it writes to files in their place.
mkdir -p "$dir/sysctl"
for pair in vm/overcommit_memory=1 kernel/panic=10 kernel/panic_on_oops=1; do
  file=$dir/sysctl/${pair##*/}
  echo "${pair#*=}" >"$file"
  mount --bind "$file" "/proc/sys/${pair%=*}"
done
ip link set lo up
ip addr add 10.0.0.1/32 dev lo
# So that packets to a service's address reach the rules of kube-proxy.
ip route add 10.96.0.0/16 dev lo src 10.0.0.1
sysctl -qw net.ipv4.ip_forward=1
hostname n1

"$@" &
wait $!
