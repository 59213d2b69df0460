"""The parts of ``fault_campaign``: a scripted journal, the load, the kills, and what was lost.

What belongs here: what that one program is made of. What does not: programs.
"""
