"""What keeps tsobs its size: what may go, how files are made smaller, what the disk holds."""
