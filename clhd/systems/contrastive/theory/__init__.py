"""The limit of infinite dimension; never imports the simulation.

A folder imports only from folders above it in this table.

| folder | what it holds |
|---|---|
| averages | averages over the noise of the two views at one state, and tables of them for many states |
| units | the ODE of several units with the covariance loss |
| flow | the ODE of the order parameters: its right-hand side, and its integration for one start or thousands |
| diffusion | the diffusion matrix of the order parameters, and their Gaussian fluctuations around the ODE |
| states | states of rest, their stability and attraction regions, thresholds, escape from the uninformative state |
| weights | the law of the weights, by the McKean-Vlasov equation |
"""
