"""The parts of ``fault_campaign``: a scripted journal, the load, the kills, and what was lost."""
