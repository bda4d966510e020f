"""The paper's printed tables and figures compared with computed numbers."""
