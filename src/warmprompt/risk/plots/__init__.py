"""Pictures of networks, cascades and studies."""

from warmprompt.risk.plots.cascade import plot_cascade
from warmprompt.risk.plots.losses import plot_losses
from warmprompt.risk.plots.network import plot_network

__all__ = ["plot_cascade", "plot_losses", "plot_network"]
