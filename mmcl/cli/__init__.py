"""The command line: `mmcl ls, cp, run, validate, compare, predict, serve, export, rationales, data`."""
