"""What the project's tests and benchmarks run on: real processes of every part, and clients of them.

Each folder is named for what it holds. A platform on one machine is made of `edge_demo`'s parts, which `make demo`
shows: processes with a log, embedded PostgreSQL, a whole Airflow, a client of its REST API. `edge_images` builds the
container images and has the cache of downloads. This package adds what tests alone need; no package of the product
imports it.
"""
