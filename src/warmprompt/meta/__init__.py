"""Meta-learning: item vectors and losses, the inner loop, the learners, the trainer, checkpoints."""
