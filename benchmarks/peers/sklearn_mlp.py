"""scikit-learn's MLPClassifier: trains the network given as JSON in the first argument, and prints its pace as JSON."""

import json
import sys
import time

import numpy as np
import sklearn
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_info, threadpool_limits


def main() -> None:
    given = json.loads(sys.argv[1])
    threadpool_limits(given["threads"])
    with np.load(given["data"]) as data:
        x, y = data["x"], data["y"]
    hidden, classes = given["widths"][1:-1], np.arange(given["widths"][-1])
    model = MLPClassifier(tuple(hidden), solver="adam", alpha=0, batch_size=given["batch_size"], random_state=0)

    # A pass over all rows in a new order; what is made at first use is none of an epoch's time.
    model.partial_fit(x, y, classes=classes)
    began = time.perf_counter()
    for _ in range(given["epochs"]):
        model.partial_fit(x, y)
    took_s = time.perf_counter() - began
    blas = next(info for info in threadpool_info() if info["user_api"] == "blas")
    used = (
        f"{blas['num_threads']} threads, {blas['internal_api']} {blas.get('architecture', '')}, {model.coefs_[0].dtype}"
    )
    version = f"scikit-learn {sklearn.__version__}"
    print(json.dumps({"samples_per_s": given["epochs"] * len(x) / took_s, "used": used, "version": version}))


if __name__ == "__main__":
    main()
