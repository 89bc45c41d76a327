"""Reports: tables in every format, the page with pictures, comparison and leaderboard.

Numbers come from `a3d_bench.aggregate`, text from `a3d_bench.tables`; the templates of the folder
``reports`` only place them.
"""
