"""PyTorch models become traces: eager operators by dispatch, and the schedules that TorchInductor makes."""
