"""`muster demo`: the main job on real data, run as a user would run it, and checked at every step."""
