"""Who asks, and may they: passwords, tokens, roles, throttles, secret references. Knows no store and no HTTP."""
