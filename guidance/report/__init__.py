"""Reports: what a study's runs say together, on a page that needs nothing else."""
