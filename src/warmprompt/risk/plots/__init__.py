"""Pictures of networks, cascades, studies and profiles."""

from warmprompt.risk.plots.cascade import plot_cascade
from warmprompt.risk.plots.losses import plot_losses
from warmprompt.risk.plots.network import plot_network
from warmprompt.risk.plots.profile import plot_payments, plot_reliability

__all__ = ["plot_cascade", "plot_losses", "plot_network", "plot_payments", "plot_reliability"]
