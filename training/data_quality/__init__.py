"""Data cleaning: near-duplicate images, probably wrong labels, confused classes."""
