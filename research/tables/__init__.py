"""The paper's tables and figures, printed against computed."""
