"""Study of validation against test accuracy: ImageNet's test server."""
