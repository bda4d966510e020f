"""Study folders, pages and figures."""
