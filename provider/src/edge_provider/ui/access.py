"""Who looks at the fleet, and what they may see and do: decided by Airflow's auth manager.

| to | one needs to be allowed to |
|---|---|
| look | see Airflow's jobs |
| act on workers | edit pools of the worker's team |
| create join tokens | create connections of the token's team |
| read the audit trail | read Airflow's audit log |
| see ids of a job | read its DAG |

With multi-team, people see the workers and jobs of their teams, and those without a team.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import (
    AccessView,
    ConnectionDetails,
    DagAccessEntity,
    DagDetails,
    PoolDetails,
    TeamDetails,
)
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.configuration import conf
from airflow.models.dag import DagModel
from airflow.models.team import Team
from fastapi import Depends, Header
from fastapi.concurrency import run_in_threadpool

from edge_provider.ui.client import EdgeApiError

WRITE_HEADER: Final = "X-Edge-UI"
"""Only our own page can send it: pages of other sites can't add headers to a request. Airflow has no CSRF token, and
where everyone is an admin every request is authenticated."""

Result = TypeVar("Result")


def forbidden(detail: str) -> EdgeApiError:
    """Return the refusal of something that the user may not do."""
    return EdgeApiError(403, "forbidden", detail)


@dataclass(frozen=True)
class Viewer:
    """The user of one request. Its checks may read Airflow's database, so they run in threads."""

    user: Any
    teams: frozenset[str] | None
    """The teams that they may see. None: all of them."""

    @property
    def name(self) -> str:
        """The user's name, for the audit trail."""
        return str(self.user.get_name())

    def sees_team(self, team: str | None) -> bool:
        """Return whether they may see workers and jobs of a team."""
        return self.teams is None or team is None or team in self.teams

    async def may_act(self, team: str | None = None) -> bool:
        """Return whether they may change workers of a team."""
        return self.sees_team(team) and await _ask(
            lambda auth: auth.is_authorized_pool(method="PUT", details=PoolDetails(team_name=team), user=self.user)
        )

    async def may_mint(self, team: str | None = None) -> bool:
        """Return whether they may create join tokens for a team (None: for workers of any or no team)."""
        return self.sees_team(team) and await _ask(
            lambda auth: auth.is_authorized_connection(
                method="POST", details=ConnectionDetails(team_name=team), user=self.user
            )
        )

    async def may_audit(self) -> bool:
        """Return whether they may read the audit trail; it is about all teams."""
        return self.teams is None and await _ask(
            lambda auth: auth.is_authorized_dag(method="GET", access_entity=DagAccessEntity.AUDIT_LOG, user=self.user)
        )

    async def may_read_task(self, dag_id: str) -> bool:
        """Return whether they may read the task instances of a DAG."""

        def check(auth: Any) -> bool:
            details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
            return bool(
                auth.is_authorized_dag(
                    method="GET", access_entity=DagAccessEntity.TASK_INSTANCE, details=details, user=self.user
                )
            )

        return await _ask(check)

    async def readable_dags(self, dag_ids: Iterable[str]) -> frozenset[str]:
        """Return those of the DAGs that they may read."""
        asked = sorted(set(dag_ids))

        def check(auth: Any) -> frozenset[str]:
            teams = DagModel.get_dag_id_to_team_name_mapping(asked)
            found: set[str] = set()
            for team in {teams.get(dag_id) for dag_id in asked}:
                of_team = {dag_id for dag_id in asked if teams.get(dag_id) == team}
                found |= auth.filter_authorized_dag_ids(dag_ids=of_team, user=self.user, method="GET", team_name=team)
            return frozenset(found)

        return await _ask(check) if asked else frozenset()

    async def check_act(self, team: str | None = None) -> None:
        """Raise a refusal unless they may change workers of a team."""
        if not await self.may_act(team):
            raise forbidden("You may look at workers but not change them: that needs the permission to edit pools.")


async def _viewer(user: GetUserDep) -> Viewer:
    if not await _ask(lambda auth: auth.is_authorized_view(access_view=AccessView.JOBS, user=user)):
        raise forbidden("You may not look at the fleet: that needs the permission to see Airflow's jobs.")
    return Viewer(user, await _ask(lambda auth: _teams(auth, user)))


def _teams(auth: Any, user: Any) -> frozenset[str] | None:
    if not conf.getboolean("core", "multi_team", fallback=False):
        return None
    every = Team.get_all_team_names()
    mine = {team for team in every if auth.is_authorized_team(method="GET", details=TeamDetails(name=team), user=user)}
    # Somebody of all teams may also see teams of workers that Airflow does not know.
    return None if mine == every else frozenset(mine)


async def _ask(question: Callable[[Any], Result]) -> Result:
    return await run_in_threadpool(lambda: question(get_auth_manager()))


async def _from_page(x_edge_ui: Annotated[str | None, Header()] = None) -> None:
    if x_edge_ui is None:
        raise forbidden(f"Changes are accepted only from the fleet page: the header {WRITE_HEADER} is missing.")


WhoLooks = Annotated[Viewer, Depends(_viewer)]
FromPage = Depends(_from_page)
