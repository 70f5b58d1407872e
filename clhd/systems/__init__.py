"""What can be swept: the protocol and the registry (layer 1), and one folder for each built-in system (layer 4)."""
