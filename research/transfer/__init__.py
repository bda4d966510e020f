"""Transfer study: pretrained networks fine-tuned on other data sets."""
