"""The AnyHead data suite: three subsets of many-view heads, and what keeps them honest.

Vocabulary (Any3DAvatar, section 3.2 and appendix C):

* *person*: who is seen. A head of ``Digital_Human_Heads_Dataset`` and one of
  ``Accessory_Rich_Heads_Dataset`` with the same id are the same person.
* *head*: a person in one subset, the folder ``{HEAD_ID}``; it is built whole or not at all.
* *group*: one condition of a head: the folder ``{EXPRESSION_ID}`` or ``{ACCESSORY_ID}``, or the
  head's own folder where the subset has no such level.
* *view*: one picture ``{VIEW_ID}.png``, RGBA with straight alpha, 8 bits a channel.
* *record*: ``HEAD.json`` of a head: its attributes and the SHA-256 of its files.
* *recipe*: everything that decides the bytes of a subset, the number of heads excepted.

The digital human itself is `any3davatar.anyhead.heads`. Importing this package imports nothing.
"""
