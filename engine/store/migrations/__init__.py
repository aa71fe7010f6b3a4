"""Steps of the tables, never edited once they are out. `engine.store.migration` runs them."""
