"""What Chainrule is made of besides its own code: lists of it, and what is known against it."""
