"""Tables of operators in CSV or YAML."""
