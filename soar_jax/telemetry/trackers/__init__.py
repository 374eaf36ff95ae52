"""Trackers: programs that show the metrics of runs. A file for each; `tracking.trackers` picks some of them."""

from soar_jax.telemetry.trackers.mlflow import MLflowTracker
from soar_jax.telemetry.trackers.tensorboard import TensorBoardTracker
from soar_jax.telemetry.trackers.tracker import TRACKERS, Report, TrackedRun, Tracker
from soar_jax.telemetry.trackers.trackio import TrackioTracker
from soar_jax.telemetry.trackers.wandb import WandbTracker

__all__ = [
    "TRACKERS",
    "MLflowTracker",
    "Report",
    "TensorBoardTracker",
    "TrackedRun",
    "Tracker",
    "TrackioTracker",
    "WandbTracker",
]
