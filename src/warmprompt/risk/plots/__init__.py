"""Pictures of networks, cascades, studies and profiles."""

from warmprompt.risk.plots.cascade import plot_cascade
from warmprompt.risk.plots.day import plot_day
from warmprompt.risk.plots.losses import plot_losses
from warmprompt.risk.plots.network import plot_network
from warmprompt.risk.plots.profile import plot_payments, plot_reliability
from warmprompt.risk.plots.stress import plot_matrix, plot_stressed_network, plot_waves

__all__ = [
    "plot_cascade",
    "plot_day",
    "plot_losses",
    "plot_matrix",
    "plot_network",
    "plot_payments",
    "plot_reliability",
    "plot_stressed_network",
    "plot_waves",
]
