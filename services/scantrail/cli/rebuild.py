"""`scantrail db rebuild`: what it says of itself, and of what came of it."""

from scantrail.projector.rebuilding import TABLES, Rebuilt

REBUILD_HELP = """\
Make the tables that come from topics (units, their movements, alerts, rejected reads, readers'
states) anew from the topics' first records, beside those that serve, and exchange them.

Everything may run meanwhile, and scans may come: what serves is untouched until the end, and then
exchanged in one transaction. Readers wait for some milliseconds, writers for as long as it takes
to project what came last and to carry over what people did with alerts and rejected reads. All
other tables (orders, parties, claims, the register, tokens, the audit) come from no topic and stay
where they are.

Killed at any moment, what serves goes on serving; run it again. It needs room for these tables
twice, and the right to make a schema in the database.
"""


def told_of_rebuild(done: Rebuilt) -> str:
    """What came of it, in words."""
    lines = [
        f"rebuilt from {done.records:,} records in {done.took_s:.1f} s; writers waited"
        f" {done.paused_s:.2f} s of it, readers {done.exchanged_s:.2f} s"
    ]
    width = max(map(len, TABLES))
    lines += [
        f"  {table:<{width}}  {done.rows_after[table]:>12,} rows, before"
        f" {done.rows_before[table]:,}"
        for table in TABLES
    ]
    if done.missed:
        lines.append(f"  {done.missed:,} alerts of which no record tells were carried over")
    return "\n".join(lines)
