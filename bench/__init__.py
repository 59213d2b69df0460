"""The measurements that ``docs/PERFORMANCE.md`` reports: each program prints a Markdown table.

Numbers are medians; what is compared is measured side by side in one run, because machines drift.
"""
