"""The store's statements on asyncio connections, group commit, and values that PostgreSQL can hold."""
