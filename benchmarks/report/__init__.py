"""Reports of what was measured: tables, plots and pages."""
