"""What developers run beside the tests: `just bench`, `just check`, and what writes generated pages."""
