"""The law of the weights, by the McKean-Vlasov equation."""
