"""The edge API's database: a server with a migrated template, and records for tests."""
