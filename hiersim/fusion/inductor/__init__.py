"""TorchInductor's rules for what shares a kernel, applied to eager operators: `lower` to buffers, then `schedule`."""
