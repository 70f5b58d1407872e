"""States of rest, their stability and attraction regions, thresholds, escape from the uninformative state."""
