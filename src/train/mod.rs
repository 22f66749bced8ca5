//! Training: loop, losses, optimiser, schedule, checkpoints, logs.
