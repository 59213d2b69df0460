"""The routes, one module for each part of the system they tell about."""
