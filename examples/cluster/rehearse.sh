#!/bin/bash
# Two "hosts" on one machine, each with a network of its own, as far as a cluster can be tried without one:
#   sudo examples/cluster/rehearse.sh WORK python -m circlet train glyphs --steps 60
# WORK is a new folder; what follows is a training without --run-dir, which the hosts share. A rank is killed in the
# middle, then all are asked to stop, then the second host loses its network; each time the same commands are given.
# SCENES="2 5" plays some of it.
set -euo pipefail
work=$1; shift
python=$1; shift
mkdir -p "$work"
hosts="host-a host-b"

cleanup() {
  for host in $hosts; do ip netns delete "$host" 2>/dev/null || true; rm -rf "/etc/netns/$host"; done
}
trap cleanup EXIT
cleanup
ip netns add host-a; ip netns add host-b
ip -n host-a link add eth0 type veth peer name eth0 netns host-b
number=1
for host in $hosts; do
  ip -n "$host" address add "10.77.0.$number/24" dev eth0
  ip -n "$host" link set eth0 up
  ip -n "$host" link set lo up
  mkdir -p "/etc/netns/$host"  # as /etc/hosts of that host alone
  printf '127.0.0.1 localhost\n10.77.0.1 host-a\n10.77.0.2 host-b\n' > "/etc/netns/$host/hosts"
  number=$((number + 1))
done

on() {  # HOST RUN ARGUMENTS: torchrun there, in the background; its output in WORK/RUN-HOST.log
  local host=$1 run=$2; shift 2
  ip netns exec "$host" unshare --uts bash -c 'hostname "$0"; exec "$@"' "$host" \
    env GLOO_SOCKET_IFNAME=eth0 OMP_NUM_THREADS=1 TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 "$python" -m torch.distributed.run \
    --nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint 10.77.0.1:29400 --rdzv-id "$run" \
    --rdzv-conf join_timeout=120 --local-addr "$(address "$host")" --max-restarts 3 \
    "$@" --run-dir "$work/$run" --go-on --timeout 60 >> "$work/$run-$host.log" 2>&1 &
}
address() { if [ "$1" = host-a ]; then echo 10.77.0.1; else echo 10.77.0.2; fi; }
start() { on host-a "$@"; agent_a=$!; on host-b "$@"; agent_b=$!; }
until_saved() { for _ in $(seq 18000); do [ -e "$work/$1/last.pt" ] && return; sleep 0.1; done; echo "no checkpoint"; exit 1; }
lines() { python3 -c 'import json, sys; steps = [json.loads(line)["step"] for line in open(sys.argv[1])]
print(f"{len(steps)} lines, {len(set(steps))} different steps, the last {steps[-1]}")' "$work/$1/metrics.jsonl"; }

whole() {
  echo "1. a whole run"
  start whole "$@"; wait $agent_a $agent_b; lines whole
}
killed() {
  echo "2. the rank of host-b is killed (SIGKILL); torchrun starts both again"
  start killed "$@"; until_saved killed
  kill -KILL "$(pgrep -o -P "$agent_b")"
  wait $agent_a $agent_b; lines killed
}
stopped() {
  echo "3. both hosts are asked to stop (SIGTERM), and start again"
  start stopped "$@"; until_saved stopped
  kill -TERM $agent_a $agent_b; wait $agent_a || true; wait $agent_b || true
  grep -h "stopped at step" "$work"/stopped-host-a.log || true
  start stopped "$@"; wait $agent_a $agent_b; lines stopped
}
lost() {
  echo "4. host-b is lost with its torchrun, and comes back"
  start lost "$@"; until_saved lost
  kill -KILL "$(pgrep -o -P "$agent_b")" "$agent_b"; wait $agent_b 2>/dev/null || true
  on host-b lost "$@"; agent_b=$!
  wait $agent_a $agent_b; lines lost
}
cut_off() {
  echo "5. host-b has no network"
  ip -n host-b link set eth0 down
  ip netns exec host-b unshare --uts bash -c 'hostname host-b; exec "$@"' - env RANK=1 LOCAL_RANK=0 WORLD_SIZE=2 \
    MASTER_ADDR=10.77.0.1 MASTER_PORT=29400 "$python" "$@" --run-dir "$work/alone" --timeout 10 2>&1 | tail -n 1 || true
}

scenes=(- whole killed stopped lost cut_off)
for scene in ${SCENES:-1 2 3 4 5}; do ${scenes[$scene]} "$@"; done
