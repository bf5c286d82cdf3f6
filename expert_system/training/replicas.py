"""Divide each batch among processes of one machine: data-parallel training on a CPU.

    batch -> each replica's share -> gradients -> mean over all replicas -> the same step of the optimizer in each

Promise: a step is the one that a single process would take, but for the order of sums; when replica 0 ends, however it
ends, so do the others. One process with a thread for each core waits at the end of every product for the slower core;
replicas wait once a step (decisions/0010).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch.distributed import FileStore, ProcessGroupGloo

from expert_system.errors import ConfigError
from expert_system.training.adapters import CPU

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.process import BaseProcess

    from expert_system.training.recipe import TrainingRecipe

MOST = 2
"""Replicas; more were not measured."""
LONGEST_WAIT = timedelta(hours=24)
"""For another replica's gradients: its process may be held (SIGSTOP). That it has ended is seen at once."""
END_WAIT_S = 10.0
"""For a process that lost its connection to end, so that its exit code can be told."""
POLL_S = 0.05

Row = TypeVar("Row")


@dataclass(slots=True, kw_only=True)
class Replica:
    """A process's place among those that train together."""

    index: int = 0
    count: int = 1
    store: str = ""
    """File where they find each other; with ".1" behind it, replica 1 has come."""
    others: Sequence[BaseProcess] = ()
    """Those that replica 0 started."""
    group: ProcessGroupGloo | None = None

    def join(self) -> None:
        """Wait for the others, each of which has set itself up meanwhile, and connect over the loopback interface.

        Raises:
            ConfigError: another replica's process has ended.
        """
        if self.count == 1:
            return
        if self.index:
            Path(f"{self.store}.{self.index}").touch()
        # Connecting would wait for a process that is gone, so replica 0 connects when all are there.
        coming = {process.sentinel: Path(f"{self.store}.{index}") for index, process in enumerate(self.others, 1)}
        while not all(file.exists() for file in coming.values()):
            if connection.wait(list(coming), timeout=POLL_S):
                raise ConfigError(_ended(self.others))
        options = ProcessGroupGloo._Options()  # torch has no public name for it
        options._devices = [ProcessGroupGloo.create_device(hostname="127.0.0.1")]
        options._timeout = LONGEST_WAIT
        self.group = ProcessGroupGloo(FileStore(self.store, self.count), self.index, self.count, options)

    def share(self, batch: Sequence[Row]) -> Sequence[Row]:
        """This replica's rows; none where the batch is too small."""
        return batch[self.index :: self.count]

    @torch.no_grad()
    def average(self, tensors: Sequence[torch.Tensor], weight: float) -> None:
        """Replace tensors of all replicas, in place, by their mean weighted with each one's `weight`.

        Raises:
            ConfigError: another replica's process has ended.
        """
        if self.group is None:
            return
        flat = torch.cat([*(tensor.reshape(-1) * weight for tensor in tensors), torch.tensor([float(weight)])])
        try:
            self.group.allreduce([flat]).wait()
        except RuntimeError as lost:
            for other in self.others:
                other.join(END_WAIT_S)
            raise ConfigError(_ended(self.others)) from lost
        *means, _ = flat.div_(flat[-1].clone()).split([*(tensor.numel() for tensor in tensors), 1])
        for tensor, mean in zip(tensors, means, strict=True):
            tensor.copy_(mean.view_as(tensor))


def count_replicas(how: TrainingRecipe, device: str) -> int:
    """How many processes train: several for runs that are long enough to be compiled, a core for each.

    Dropout keeps one, since a checkpoint holds the random state of one.
    """
    if device != CPU or not how.compile or how.dropout:
        return 1
    return max(1, min(MOST, how.batch_size, torch.get_num_threads()))


@contextmanager
def start_replicas(count: int, follow: Callable[..., None], *arguments: Any) -> Iterator[Replica]:
    """Start the other processes, each with `follow(its Replica, *arguments)`, and be replica 0 among them.

    The threads of this process are divided among all. The others end with the block.
    """
    threads = torch.get_num_threads()
    context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks
    with TemporaryDirectory() as folder:
        places = [Replica(index=index, count=count, store=str(Path(folder) / "store")) for index in range(count)]
        others = [
            context.Process(
                target=_be_replica, args=(place, threads // count, follow, arguments), name=f"replica {place.index}"
            )
            for place in places[1:]
        ]
        try:
            torch.set_num_threads(threads // count)
            for process in others:
                process.start()
            places[0].others = others
            yield places[0]
        finally:
            for process in others:
                if process.pid is not None:
                    process.kill()
                    process.join()
            torch.set_num_threads(threads)


def _be_replica(place: Replica, threads: int, follow: Callable[..., None], arguments: Sequence[Any]) -> None:
    """What a started process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; replica 0 decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        follow(place, *arguments)
    except ConfigError:
        sys.exit(1)  # replica 0 meets the same and says it, or is gone


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _ended(processes: Sequence[BaseProcess]) -> str:
    codes = ", ".join(str(process.exitcode) for process in processes if process.exitcode is not None)
    return (
        f"a training process ended (exit code {codes or 'unknown'}; -9 is often want of memory); the same command goes "
        "on from the last checkpoint, and OMP_NUM_THREADS=1 before it trains in one process"
    )
