"""Rows of a data set and what is done to them: formats, checks, duplicates, splits, statistics.

rows -> checked -> deduplicated -> split -> parts
"""
