"""What a Dask scheduler runs on each worker, when it is there and when it joins: take the job."""

from __future__ import annotations

from typing import Any

from distributed import WorkerPlugin

from hiersim.sweeps.job import Parcel, hold


class JobPlugin(WorkerPlugin):
    """Holds a job in the process of a worker."""

    def __init__(self, parcel: Parcel) -> None:
        self.parcel = parcel

    def setup(self, worker: Any) -> None:
        """Called once per worker."""
        hold(self.parcel)
