"""PyTorch DistributedDataParallel over gloo, a process a thread: trains the network given as JSON, prints its pace.

Every process takes its rows of each batch, so that together they take as many as one process would.
"""

import json
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel


def train(rank: int, given: dict[str, Any], meeting: str) -> None:
    world = given["threads"]
    torch.manual_seed(0)
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    with np.load(given["data"]) as data:
        x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
    model = DistributedDataParallel(network(given["widths"]), gradient_as_bucket_view=True)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def epoch() -> None:
        order = torch.randperm(len(x))  # the same in every process, as is the seed
        for batch in order.split(given["batch_size"]):
            mine = batch[rank::world]
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[mine]), y[mine]).backward()
            optimizer.step()

    epoch()  # what is made at first use is none of an epoch's time
    distributed.barrier()
    began = time.perf_counter()
    for _ in range(given["epochs"]):
        epoch()
    distributed.barrier()
    took_s = time.perf_counter() - began
    if rank == 0:
        used = f"{distributed.get_world_size()} processes × {torch.get_num_threads()} thread, gloo, fused Adam"
        used += f", {torch.backends.cpu.get_cpu_capability()}"
        pace = given["epochs"] * len(x) / took_s
        print(json.dumps({"samples_per_s": pace, "used": used, "version": f"torch {torch.__version__}"}))
    distributed.destroy_process_group()


def network(widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(train, (arguments, str(Path(folder) / "meeting")), nprocs=arguments["threads"])
