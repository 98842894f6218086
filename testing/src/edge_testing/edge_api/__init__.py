"""The edge API as a process, a stand-in for it, and clients of its worker, admin and v1 endpoints."""
