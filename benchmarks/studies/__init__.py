"""Small training studies with several seeds, each a command."""
