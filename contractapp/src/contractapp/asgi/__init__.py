"""ASGI layers that use neither Connexion nor Flask."""
