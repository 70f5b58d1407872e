"""Online SGD at finite dimension; never imports the theory."""
