"""The data stage on a Spark cluster: the same edges as in one process, to the bit.

Read in this order: ``session`` starts and stops Spark, ``tables`` reads files under our
names, ``values`` and ``clocks`` say what text and times mean, ``rules`` checks rows,
``visits``, ``places`` and ``covisits`` make co-visits, ``flows`` adds up flows.

All work on rows is Spark SQL. Only distinct places go through Python, where the code
of the embedded engine says which token each is.
"""
