#!/usr/bin/env bash
# usage: guard.sh NAME DIR COMMAND...
#
# Runs COMMAND as the first process of namespaces of its own, in cgroups below ours, and removes every trace of it when it
# ends or when our standard input ends: however our parent goes, Ctrl-C, crash or kill -9, its end of the pipe closes.
# Says `pid N` (of unshare, whose child is COMMAND) and at the very end `gone`, or `left: ...`.
set -u
name=$1 dir=$2
shift 2
cgroups=/sys/fs/cgroup
groups=()
child=

finish() {
  trap - EXIT
  trap '' INT TERM HUP
  [ -n "$child" ] && kill -KILL "$child" 2>/dev/null && wait "$child" 2>/dev/null
  local left=() group
  for group in "${groups[@]}"; do
    # The last processes of a killed namespace take a moment to be gone.
    for _ in $(seq 100); do
      find "$group" -depth -type d -exec rmdir {} + 2>/dev/null
      [ -d "$group" ] || break
      sleep 0.1
    done
    [ -d "$group" ] && left+=("$group")
  done
  rm -rf "$dir" 2>/dev/null
  [ -e "$dir" ] && left+=("$dir")
  rm -f "$dir.lock"
  if grep -q " $dir" /proc/self/mountinfo; then left+=("mounts below $dir"); fi
  [ -n "${reader:-}" ] && kill "$reader" 2>/dev/null
  if [ ${#left[@]} -eq 0 ]; then echo gone; else echo "left: ${left[*]}"; fi
}
# Held as long as we live: who finds it free may remove what we could not.
exec 8>"$dir.lock"
flock -n 8 || exit 1
trap finish EXIT
trap 'exit 130' INT TERM HUP

# Nested, so that limits and pauses of the caller's own groups hold for the cluster too.
while IFS=: read -r _ controllers own; do
  case $controllers in
    '') continue ;;
    name=*) controllers=${controllers#name=} ;;
  esac
  hierarchy=$cgroups/${controllers%%,*}
  [ -d "$hierarchy" ] || hierarchy=$cgroups/$controllers
  parent=$hierarchy${own%/}
  [ -d "$parent" ] || continue
  group=$parent/$name
  mkdir "$group" || exit 1
  groups+=("$group")
  if [ "$controllers" = cpuset ]; then
    for file in cpuset.cpus cpuset.mems; do cat "$parent/$file" >"$group/$file"; done
  fi
done </proc/self/cgroup

(
  for group in "${groups[@]}"; do echo "$BASHPID" >"$group/cgroup.procs" || exit 1; done
  exec setpriv --pdeathsig KILL unshare -C -n -m -p -i -u -f --mount-proc --kill-child "$@" </dev/null 8>&-
) &
child=$!
echo "pid $child"
exec 3<&0
setpriv --pdeathsig KILL bash -c 'cat >/dev/null; kill -KILL "$1"' reader "$child" <&3 >/dev/null 2>&1 8>&- &
reader=$!
wait "$child"
child=
