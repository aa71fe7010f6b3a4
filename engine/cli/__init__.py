"""The `axiom` command: parse, one call into the engine, show. Heavy parts are imported where they are used."""
