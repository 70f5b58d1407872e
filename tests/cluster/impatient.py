"""Snakemake that looks after its SLURM jobs every second: the plugin waits ever longer until the next one is done."""

import asyncio

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor


async def sleep_a_second(_: RemoteExecutor) -> None:
    await asyncio.sleep(1)


if __name__ == "__main__":
    RemoteExecutor.sleep = sleep_a_second
    main()
