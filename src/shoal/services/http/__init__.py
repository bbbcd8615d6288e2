"""The registry over HTTP: its routes in two shapes, who may use them and how much, and the server under it."""
