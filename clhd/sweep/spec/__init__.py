"""From a YAML file to a checked, frozen experiment and its grid."""
