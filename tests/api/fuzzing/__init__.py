"""What schemathesis is given: its settings, and a hook that keeps the caller's way in open."""
