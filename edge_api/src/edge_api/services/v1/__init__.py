"""The v1 wire: released workers of `apache-airflow-providers-edge3` connect unchanged while a fleet migrates.

It can do less than v2. All its workers share one secret, so a caller proves that it is some worker, not which one; and
reports name a task, not a lease. What can be bound is bound: a report counts only for the lease that a v1 worker holds
for that very task instance now, and v1 calls can touch neither workers, leases nor names of enrolled workers.
"""
