"""What operators see: health pages and metrics."""
