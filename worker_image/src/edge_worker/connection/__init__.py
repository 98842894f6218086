"""How frames travel: WebSocket first, long polling where a proxy breaks it. Both carry the same texts."""
