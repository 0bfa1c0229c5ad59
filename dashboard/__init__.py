"""Charts of predictions, and the dashboard that shows them."""
