"""Alembic's entry point. The connection always comes from `edge_store.schema.migrate`, which owns the transaction."""

from alembic import context

from edge_store.schema.tables import SCHEMA, VERSION_TABLE, metadata


def _of_this_schema(name: str | None, type_: str, _parents: object) -> bool:
    return type_ != "schema" or name == SCHEMA


def _run() -> None:
    connection = context.config.attributes["connection"]
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        version_table_schema=SCHEMA,
        include_schemas=True,
        include_name=_of_this_schema,
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        context.run_migrations()


_run()
