"""An expert on disk: manifest, files, signature, and the weights' headers."""
