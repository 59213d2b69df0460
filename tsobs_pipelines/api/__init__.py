"""The HTTP API and the VPN page.

What belongs here: routes, users, the page's files. What does not: how rows, alerts or logs come about.
"""
