"""The REST API: what the workbench, notebooks and the command use. One generic set of routes for all families."""
