"""Run every benchmark, or the one that is named; print a table and keep the JSON."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("POLARS_MAX_THREADS", "2")
os.environ.setdefault("OMP_NUM_THREADS", "1")


def main(names: list[str]) -> int:
    from benchmarks import contracts, engine, features, http, ingest, training
    from benchmarks.harness import Result, Skipped, run, write
    from pipelines.terminal import console, remarks, table

    known = {
        benchmark.name: benchmark
        for suite in (contracts, features, training, engine, http, ingest)
        for benchmark in suite.BENCHMARKS
    }
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no benchmark is called {unknown[0]}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    results: list[Result] = []
    for name in names or known:
        try:
            result = run(known[name], lambda step: remarks.print(step, highlight=False))
        except Skipped as reason:
            remarks.print(f"{name}: skipped, {reason}", highlight=False)
            continue
        write(result)
        results.append(result)
    columns = ("benchmark", "ratio", "median s", "peer", "peer s", "figures", "reach", "met")
    rows = [
        (
            result.name,
            result.ratio,
            result.median_s,
            result.peer,
            result.peer_median_s,
            ", ".join(f"{key} {value:,.4g}" for key, value in result.figures.items()),
            result.reach,
            "yes" if result.met else "NO",
        )
        for result in results
    ]
    console.print(table("benchmarks", columns, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
