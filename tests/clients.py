"""`open_threads`: a client of Dask with threads of this process as workers, which know what a test replaces."""

from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client, LocalCluster


@contextmanager
def open_threads(count: int) -> Iterator[Client]:
    """A client of one worker with so many threads."""
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=count,
            processes=False,
            protocol="inproc://",
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
