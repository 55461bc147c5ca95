"""`backdrop doctor`: is an installation fit, and does a server keep to the protocol."""
