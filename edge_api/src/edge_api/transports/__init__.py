"""How frames travel: WebSocket and long poll."""
