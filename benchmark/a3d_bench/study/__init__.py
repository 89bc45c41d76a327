"""The blind user study: people rate what methods made, and do not learn which made what.

Vocabulary. A *study* is a folder: one *sheet* a participant (a page that opens from disk), and the
*key* that says who is who on them. A sheet shows *heads*; a head shows its portrait and one *entry*
a method, called by letters in the order they stand; each entry is asked the same *questions* with
ratings from 0 to 9. *Answers* are one file a sheet.

The protocol is the paper's (arXiv 2604.13856): 32 participants, texture quality and identity
consistency, 7 methods on 2 data sets, so 28 ratings each.

`design` orders methods and heads, `entries` takes pictures from runs, `key` is what is kept secret,
`sheets` writes; `answers` reads what came back, `scores` and `agreement` count, `report` shows.
"""
