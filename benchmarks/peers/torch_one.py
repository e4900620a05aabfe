"""PyTorch, one process: trains the network given as JSON in the first argument, and prints its pace as JSON."""

import json
import sys
import time
from itertools import pairwise

import numpy as np
import torch
from torch import nn


def main() -> None:
    given = json.loads(sys.argv[1])
    torch.manual_seed(0)
    torch.set_num_threads(given["threads"])
    with np.load(given["data"]) as data:
        x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
    model = network(given["widths"])
    optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def epoch() -> None:
        order = torch.randperm(len(x))
        for batch in order.split(given["batch_size"]):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()

    epoch()  # what is made at first use is none of an epoch's time
    began = time.perf_counter()
    for _ in range(given["epochs"]):
        epoch()
    took_s = time.perf_counter() - began
    used = f"{torch.get_num_threads()} threads, fused Adam, {torch.backends.cpu.get_cpu_capability()}"
    told = {"samples_per_s": given["epochs"] * len(x) / took_s, "used": used, "version": f"torch {torch.__version__}"}
    print(json.dumps(told))


def network(widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


if __name__ == "__main__":
    main()
