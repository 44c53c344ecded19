"""YAML becomes a validated `Design`; every fault is reported with file and line."""
