"""Report: models of a training side by side, as an HTML page, PNG files and a JSON file."""
