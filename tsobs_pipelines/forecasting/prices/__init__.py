"""Where electricity prices come from, behind one interface, and what makes a day of them complete."""
