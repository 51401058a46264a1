# SPDX-License-Identifier: MIT
"""One process declares parameters and reads them while it works; another sets them. No module, no root.

$ python docs/examples/parameters.py
"""

from __future__ import annotations

import os
import time

import semshare

NAME = f"worker-{os.getpid()}"


def work(parameters: semshare.Parameters, turns: int) -> None:
    """Count up and down between two bounds, as fast as the parameters say."""
    value, step = 0, 1
    for _ in range(turns):
        now = parameters.snapshot()  # low and high are of one moment
        value += step
        if not now["low"] <= value <= now["high"]:
            step = 1 if value < now["low"] else -1
            value = max(int(now["low"]), min(int(now["high"]), value))
        parameters.state["value"] = value
        parameters.state["turns"] += 1
        time.sleep(1 / now["rate"])


def steer() -> None:
    with semshare.Parameters.attach(NAME) as worker:
        print(worker.limits("rate"))
        worker["rate"] = 500  # one store, no lock
        worker.update(low=10, high=20)  # both or none
        try:
            worker["rate"] = 10_000
        except semshare.OutOfLimits as error:
            print(error)
        while worker.state["turns"] < 100:
            time.sleep(0.01)
        print(f"after 100 turns it is between 10 and 20: {10 <= worker.state['value'] <= 20}")


def main() -> None:
    declared = [
        semshare.Parameter("rate", 100.0, minimum=1.0, maximum=1000.0),
        semshare.Parameter("low", 0, group=1),
        semshare.Parameter("high", 5, group=1),
    ]
    with semshare.Parameters.create(NAME, declared, state={"value": 0, "turns": 0}) as parameters:
        child = os.fork()
        if child == 0:
            steer()
            os._exit(0)
        work(parameters, 200)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            raise SystemExit("the other process failed")


if __name__ == "__main__":
    main()
