"""Reports: what runs measured, as tables, plots and one HTML page."""
