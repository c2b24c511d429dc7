"""Joining the process group: an error that names the host that cannot reach the others, or the ranks that do not come.

Every rank leaves the name of its host in the store of the launcher before it connects to the others. Where that fails,
the names tell a rank that never came from one that came and cannot be reached, as behind a firewall or by another
network.

The store outlives a restart by torchrun (2.13), and so would the addresses of processes that are gone: ranks that meet
again do so under another name.
"""

import os
import secrets
import socket
import time
from contextlib import suppress
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

_SHOWN = 8


def join(device: torch.device, timeout: float) -> None:
    """Join the ranks that torchrun has started, with NCCL on GPUs and gloo on CPUs; `timeout` in seconds.

    ConnectionError, after at most about twice that time, where a rank does not come or cannot be reached: it names
    this host, and the rank and its host.
    """
    limit, store = timedelta(seconds=timeout), None
    rank, gpu = int(os.environ["RANK"]), device if device.type == "cuda" else None
    try:
        if rank:
            _reach_rank_0(timeout)
        store, rank, size = next(iter(rendezvous("env://", timeout=limit)))
        store.set_timeout(limit)
        store.set(_key(rank), socket.gethostname())
        backend, group_store = (
            "gloo" if gpu is None else "nccl",
            PrefixStore(_meeting(store, rank, size, timeout), store),
        )
        dist.init_process_group(backend, store=group_store, rank=rank, world_size=size, timeout=limit, device_id=gpu)
    except (RuntimeError, OSError) as error:
        unmet = f"{'found no way to' if rank else 'found too few ranks at'} {':'.join(_place())}"
        found = unmet if store is None else _found(store, rank)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConnectionError(
            f"ranks: rank {rank} on {socket.gethostname()} {found} within {timeout:g} seconds ({reason}), expected "
            "that each host reaches the others on any port, by the network that GLOO_SOCKET_IFNAME or "
            "NCCL_SOCKET_IFNAME names"
        ) from error


def _meeting(store: Store, rank: int, size: int, timeout: float) -> str:
    """The name of this meeting: drawn by rank 0, and that of no earlier one.

    Rank 0 welcomes each rank under the name; who reads the name of an earlier meeting is not welcomed, and asks again.
    """
    own = secrets.token_hex(8)
    if rank == 0:
        store.set("circlet meeting", own)
        for other in range(1, size):
            store.set(f"{own} welcomes {other}", store.get(f"{own} is met by {other}").decode())
        return own
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        if store.check(["circlet meeting"]):
            name = store.get("circlet meeting").decode(errors="replace")
            welcome = f"{name} welcomes {rank}"
            store.set(f"{name} is met by {rank}", own)
            if store.check([welcome]) and store.get(welcome).decode(errors="replace") == own:
                return name
        time.sleep(0.02)
    raise TimeoutError("rank 0 has not answered")


def _place() -> tuple[str, str]:
    return os.environ.get("MASTER_ADDR", "no host"), os.environ.get("MASTER_PORT", "no port")


def _reach_rank_0(timeout: float) -> None:
    """Wait until somebody listens where the ranks meet; an OSError if nobody does (PyTorch would trace its retries)."""
    until = time.monotonic() + timeout
    while True:
        try:
            with socket.create_connection(_place(), timeout=max(until - time.monotonic(), 0.1)):
                return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def _found(store: Store, rank: int) -> str:
    """What is wrong with the others, as far as the store tells."""
    hosts: dict[str, list[str]] = {}
    missing = []
    with suppress(RuntimeError):  # the store, too, may have gone
        for other in range(int(os.environ["WORLD_SIZE"])):
            if other != rank and store.check([_key(other)]):
                hosts.setdefault(store.get(_key(other)).decode(errors="replace"), []).append(str(other))
            elif other != rank:
                missing.append(str(other))
    if missing:
        return f"found that rank {_some(missing)} did not come"
    named = [f"{host} (rank {_some(ranks)})" for host, ranks in hosts.items()]
    return f"found that it cannot reach one of {_some(named) or 'the others'}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _key(rank: int) -> str:
    return f"circlet host of rank {rank}"
