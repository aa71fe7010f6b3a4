"""Sample studies made by us, and the example configuration: what a first start shows, and what tests send."""
