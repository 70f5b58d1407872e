"""States of rest of the ODE, their stability, their attraction regions, and escape from the uninformative one."""
