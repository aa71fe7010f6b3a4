"""How the engine speaks to a peer over HTTP and TLS: below the kinds of sources and destinations, which use it."""
