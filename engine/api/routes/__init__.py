"""The routes, one file for each part of the API. Each is a function that parses, makes one call, and answers."""
