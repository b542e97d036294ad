"""Recipes, one YAML file per system; named by entry points of the group `fctfg.recipes`."""
