"""circlet: deep metric learning as pair similarity optimisation."""
