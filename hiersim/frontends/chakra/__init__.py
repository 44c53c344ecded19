"""Chakra execution traces (MLCommons): protobuf and its JSON forms, in and out."""
