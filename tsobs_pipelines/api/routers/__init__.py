"""The routes, one module for each part of the system they tell about.

What belongs here: parameters, their ranges, and which view answers. What does not: computing an answer.
"""
