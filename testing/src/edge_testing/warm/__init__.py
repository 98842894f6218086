"""Starts this project's programs by forking an interpreter that has imported them already.

A fresh interpreter spends one to two seconds of CPU on imports, and the tests start hundreds. What is started stays a
process of its own with its own pid, environment, signals and exit code, and a child of the test process.
"""
