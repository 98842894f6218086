"""HTTP and WebSocket: reading requests, writing answers, and nothing that decides."""
