"""`make bench`: the speed of every kernel in one table, beside an alternative that is timed in the same run."""

import platform
import sys
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the benchmarks are not installed

from benchmarks import attraction, full_engine, ode_engine, pde, projected_engine, systems


def describe_machine() -> str:
    """The processor, the system and the versions that a timing depends on."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
    flags = cpuinfo.read_text() if names else ""
    width = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "numba", "llvmlite"))
    processor = f"{names[0]}, {len(names)} cores, {width}" if names else platform.processor()
    return f"{processor}; {platform.system()}; Python {platform.python_version()}; {packages}"


def main() -> None:
    """Print the table as Markdown."""
    print(describe_machine(), end="\n\n")
    print("| what | measured | reference | ratio | reach |")
    print("|---|---|---|---|---|")
    for part in (projected_engine, full_engine, ode_engine, attraction, pde, systems):
        for row in part.rows():
            print(
                f"| {row['what']} | {row['measured']:.4g} | {row['reference']:.4g} "
                f"| {row['ratio']:.1f} x | {row['reach']} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
