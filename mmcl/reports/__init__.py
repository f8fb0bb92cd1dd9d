"""Reports: results of runs as tables, plots and one HTML page."""
