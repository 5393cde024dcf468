"""ASGI layers that know neither Connexion nor Flask."""
